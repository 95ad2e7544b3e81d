"""Real processes, real sockets: a frontend and workers on the sim engine, as users start them."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.free_ports import SLOT_PORTS, reserve_ports
from tests.kit.sglang_environment import sglang_environment

READY_S_MAX = 60.0
"""A sim worker is up in 2 s on an idle machine; CI shares its two cores."""


_reserved: list[int] = []


def free_port() -> int:
    """A TCP port that no other test and no worker of any test takes.

    A port that the kernel picked can be gone by the time it is used: workers let the kernel pick
    the ports of their KV events.
    """
    if not _reserved:
        base = reserve_ports(SLOT_PORTS)
        _reserved.extend(range(base, base + SLOT_PORTS))
    return _reserved.pop()


@dataclass
class Process:
    """One `python -m …` with its output in a file."""

    popen: "subprocess.Popen[bytes]"
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def children_left(self) -> list[str]:
        """What still runs of the session that the process began; the dead that init has yet to bury
        do not.
        """
        left = subprocess.run(
            ["ps", "-o", "stat=,pid=,args=", "--sid", str(self.popen.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        return [line for line in left.stdout.splitlines() if not line.startswith("Z")]

    def stop(self, number: int = signal.SIGTERM, wait_s_max: float = 30.0) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(wait_s_max)
        finally:
            if self.popen.poll() is None:
                os.killpg(self.popen.pid, signal.SIGKILL)
                self.popen.wait()


@dataclass
class Fleet:
    """One mesh address, any number of frontends and workers."""

    directory: Path
    mesh: str = field(default_factory=lambda: f"tcp://127.0.0.1:{free_port()}")
    http_port: int = field(default_factory=free_port)
    processes: list[Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> Process:
        """`python -m …`."""
        return self.launch(arguments[0], ["-m", *arguments], env=env)

    def launch(
        self, name: str, python_arguments: list[str], *, env: dict[str, str] | None = None
    ) -> Process:
        """`python …` in a session of its own, its output in a log of that name."""
        log = self.directory / f"{len(self.processes)}-{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, *python_arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"KVMESH_CACHE_DIR": str(self.directory / "cache")} | (env or {}),
            )
        process = Process(popen, log)
        self.processes.append(process)
        return process

    def frontend(self, *arguments: str) -> Process:
        return self.start(
            "frontend", "--http-port", str(self.http_port), "--mesh-bind", self.mesh, *arguments
        )

    def worker(self, *arguments: str, engine: str = "sim") -> Process:
        env = sglang_environment() if engine == "sglang" else None
        return self.start(
            "workers", "--engine", engine, "--frontend", self.mesh, *arguments, env=env
        )

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def wait_until(
        self, condition: Callable[[], bool], what: str, *, wait_s_max: float = READY_S_MAX
    ) -> None:
        """Poll a condition of the processes; there is no event to await across them."""
        deadline = time.monotonic() + wait_s_max
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except OSError:
                pass
            for process in self.processes:
                if process.popen.poll() not in (None, 0, -signal.SIGKILL):
                    pytest.fail(
                        f"{what}: a process ended with "
                        f"{process.popen.returncode}\n{process.output()}"
                    )
            time.sleep(0.05)
        pytest.fail(
            f"not within {wait_s_max} s: {what}\n"
            + "\n".join(process.output()[-3000:] for process in self.processes)
        )

    def wait_for_workers(self, count: int, *, wait_s_max: float = READY_S_MAX) -> None:
        def ready() -> bool:
            return sum(worker["ready"] for worker in self.get("/health")[1]["workers"]) == count

        self.wait_until(ready, f"{count} workers ready", wait_s_max=wait_s_max)

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60, **options
        )

    def async_client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60
        )

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()
