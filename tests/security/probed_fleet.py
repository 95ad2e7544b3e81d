"""A fleet whose frontend is measured while it is attacked."""

import http.client
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starter.process import Process
from tests.kit.fleet import Fleet
from tests.security.inflated import Attack
from tests.security.probed_frontend import make_file, read_pauses

PAUSE_S_MAX: Final = 0.05
PARSER_S_PER_BYTE: Final = 5e-9
"""A parser's pass over the body holds the interpreter, wherever it runs: on top of PAUSE_S_MAX
where that is not the loop.
"""

HELD_SIZES_MAX: Final = 20
HELD_FLOOR_BYTES: Final = 64 * 1024 * 1024
"""Above what any request may take, however small."""

ANSWER_S_MAX: Final = 15.0
"""Then the client leaves."""


@dataclass
class Measured:
    """What one request did."""

    status: int
    seconds: float
    pause_s: float
    own_pause_s: float
    held_bytes: int
    body_bytes: int

    @property
    def is_finding(self) -> bool:
        return (
            self.own_pause_s > PAUSE_S_MAX
            or self.pause_s > PAUSE_S_MAX + PARSER_S_PER_BYTE * self.body_bytes
            or self.held_bytes > max(HELD_FLOOR_BYTES, HELD_SIZES_MAX * self.body_bytes)
            or self.status in (0, 500)
        )

    def __str__(self) -> str:
        return (
            f"{self.status} after {self.seconds:.1f} s, loop stood for {self.pause_s * 1000:.0f} ms"
            f" ({self.own_pause_s * 1000:.0f} of its own), held {self.held_bytes / 1e6:.0f} "
            f"MB of {self.body_bytes / 1e6:.1f}"
        )


class ProbedFleet:
    """A frontend that tells its pauses, and simulated workers of the models "demo" and "vectors".

    Args:
        env: of the frontend.
    """

    def __init__(self, directory: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.fleet = Fleet(directory)
        self._pauses = directory / "pauses"
        make_file(self._pauses)
        frontend = (
            "tests.security.probed_frontend",
            str(self._pauses),
            "--http-port",
            str(self.fleet.http_port),
        )
        self.frontend: Process = self.fleet.start(
            *frontend, "--mesh-bind", self.fleet.mesh, *arguments, env=env
        )
        self.fleet.worker(
            "--served-model-name", "demo", "--sim-speedup", "0", "--context-length", "32768"
        )
        self.fleet.worker(
            "--served-model-name",
            "vectors",
            "--embedding-worker",
            "--sim-speedup",
            "0",
            "--sim-embedding-dimensions",
            "32",
        )
        self._proc = Path(f"/proc/{self.frontend.popen.pid}")
        self._before_bytes = 0
        self.fleet.wait_for_workers(2)

    def stop(self) -> None:
        """End its processes."""
        self.fleet.stop()

    def send(self, one: Attack) -> Measured:
        """Send a request, read its answer, and tell what it did to the frontend."""
        self.begin()
        start = time.monotonic()
        status, _ = self.post(one.path, one.body)
        took = time.monotonic() - start
        time.sleep(0.05)  # what ends with the connection
        return self.measured(status, took, len(one.body))

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
        """Status and answer; 0 if the connection was lost.

        Whoever gets no end within ANSWER_S_MAX leaves.
        """
        until, answer = time.monotonic() + ANSWER_S_MAX, bytearray()
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.fleet.http_port, timeout=ANSWER_S_MAX
        )
        try:
            connection.request("POST", path, body, {"content-type": "application/json"} | headers)
            got = connection.getresponse()
            while (part := got.read(1 << 20)) and time.monotonic() < until:
                answer += part
            return got.status, bytes(answer)
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def begin(self) -> None:
        """What is measured begins anew."""
        (self._proc / "clear_refs").write_text("5")
        self._before_bytes = self._status_bytes("VmRSS")
        with self._pauses.open("r+b") as file:
            file.write(bytes(24))

    def measured(self, status: int = 200, seconds: float = 0.0, body_bytes: int = 0) -> Measured:
        """Since `begin`."""
        pause, own, _ = read_pauses(self._pauses)
        return Measured(
            status,
            seconds,
            pause,
            own,
            self._status_bytes("VmHWM") - self._before_bytes,
            body_bytes,
        )

    @property
    def held_now_bytes(self) -> int:
        """What the frontend takes of the memory now."""
        return self._status_bytes("VmRSS")

    def _status_bytes(self, name: str) -> int:
        line = next(
            line
            for line in (self._proc / "status").read_text().splitlines()
            if line.startswith(name + ":")
        )
        return int(line.split()[1]) * 1024
