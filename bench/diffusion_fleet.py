"""A fleet that draws by SGLang's generator, its clients and its processes."""

import base64
import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx

from bench.kit.usage import descendants
from starter.fleet import Fleet
from starter.process import Process

PATH: Final = "/v1/images/generations"
START_S_MAX: Final = 180.0
ANSWER_S_MAX: Final = 180.0
GENERATOR, RANK = "workers.sglang.diffusion.program", "sgl_diffusion"
"""In the command lines of a generator's processes."""


@dataclass
class Drawing:
    """A fleet that draws."""

    fleet: Fleet
    temporary: Path
    workers: dict[str, Process] = field(default_factory=dict[str, Process])

    def add(self, name: str) -> None:
        """Start a worker."""
        self.workers[name] = self.fleet.worker(
            *("--demo", "image", "--worker-id", name),
            env={"TMPDIR": str(self.temporary)},
        )

    def ask(self, body: dict[str, Any]) -> tuple[str, bytes]:
        """What a client is told, and its picture."""
        answer = httpx.post(self.fleet.url + PATH, json=body, timeout=ANSWER_S_MAX)
        told = answer.json()
        if answer.status_code != 200:
            return f"{answer.status_code} {told['error']['code']}", b""
        return "its picture", base64.b64decode(told["data"][0]["b64_json"])

    def begin(self, body: dict[str, Any]) -> socket.socket:
        """A connection on which an order has been sent."""
        connection = socket.create_connection(("127.0.0.1", self.fleet.http_port), ANSWER_S_MAX)
        content = json.dumps(body).encode()
        head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        return connection

    def orders(self) -> dict[str, int]:
        """How many each worker makes or has waiting, as its heartbeats say."""
        told = self.fleet.get("/health")[1]["workers"]
        return {each["worker_id"]: sum(each["engine_requests"]) for each in told}

    def wait_for(self, orders: int) -> None:
        """Wait until so many orders are at the workers."""
        self.fleet.wait_until(lambda: sum(self.orders().values()) == orders, f"{orders} orders")

    def processes(self, mark: str = "") -> list[int]:
        """Those of generators; of one kind, if it is named."""
        found: list[int] = []
        for pid in descendants(os.getpid()):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if any(each in words for each in ([mark] if mark else [GENERATOR, RANK])):
                found.append(pid)
        return found

    def leftovers(self) -> int:
        """Processes and folders of generators that there are."""
        return len(self.processes()) + sum(path.is_dir() for path in self.temporary.rglob("*"))


@contextmanager
def drawing(workers: int) -> Generator[Drawing]:
    """A frontend and so many workers that have drawn something."""
    with TemporaryDirectory(prefix="k-") as folder:
        fleet = Fleet(Path(folder) / "logs")
        made = Drawing(fleet, Path(folder) / "t")
        made.temporary.mkdir()
        try:
            fleet.frontend()
            for number in range(workers):
                made.add(f"w{number}")
            fleet.wait_for_workers(workers, wait_s_max=START_S_MAX)
            yield made
        finally:
            fleet.stop()


def runs(pid: int) -> bool:
    """Whether a process has not ended; those that init has yet to bury have."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
