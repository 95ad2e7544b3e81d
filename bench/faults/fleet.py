"""The fleet that faults befall: frontends and simulated workers of this repository as processes of
this host.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.faults.proxy import TcpProxy
from bench.kit.workloads import LOCAL
from starter.addresses import Addresses, worker_command
from starter.pages import http_metric
from starter.process import Process, start
from starter.waiting import wait_until

MODEL = "faults"

_LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \S+ \S+ (.*)$")


@dataclass
class Frontend:
    """A frontend's addresses stay when its process is replaced."""

    number: int
    addresses: Addresses
    options: Sequence[str]
    process: Process | None = None
    starts: int = 0

    @property
    def port(self) -> int:
        return self.addresses.http_port

    @property
    def mesh(self) -> str:
        return self.addresses.mesh

    @property
    def log(self) -> Path:
        assert self.process is not None
        return self.process.log

    def health(self) -> Any:
        """The /health page, whatever its status."""
        return self.addresses.get("/health")[1]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all label sets that have these."""
        return http_metric(self.addresses.url, name, **labels)

    def said(self, pattern: str, since_unix_s: float) -> tuple[float, str] | None:
        """The first line of its log since then that matches: when (seconds since), and its
        message.
        """
        for line in self.log.read_text(errors="replace").splitlines():
            match = _LINE.match(line)
            if match and re.search(pattern, match[2]):
                said_at = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()  # noqa: DTZ007 - logs are in local time
                if said_at >= since_unix_s - 0.001:
                    return said_at - since_unix_s, match[2]
        return None


@dataclass
class FleetShape:
    """What to start. Options of single workers come on top of those of all."""

    workers: int = 4
    frontends: int = 1
    frontend_options: Sequence[str] = ()
    worker_options: Sequence[str] = ()
    options_of: dict[int, Sequence[str]] = field(default_factory=dict[int, Sequence[str]])


class Fleet:
    """Frontends and workers. Everything ends with `stack`."""

    def __init__(self, shape: FleetShape, stack: ExitStack, *, name: str, speedup: float) -> None:
        self.shape = shape
        self._stack = stack
        self._name = name
        self._speedup = speedup
        self._starts = 0
        self.proxies: dict[int, TcpProxy] = {}
        """Worker → what it dials instead of the frontends."""
        self.frontends = [
            Frontend(number, Addresses(), shape.frontend_options)
            for number in range(shape.frontends)
        ]
        self.workers: list[Process] = []

    @property
    def ports(self) -> list[int]:
        return [frontend.port for frontend in self.frontends]

    def start(self) -> None:
        """Start everything and wait until every frontend has every worker."""
        for frontend in self.frontends:
            self.start_frontend(frontend)
        self.workers = [self._worker(number) for number in range(self.shape.workers)]
        self.wait_for_workers(self.shape.workers)

    def start_frontend(self, frontend: Frontend) -> None:
        """Start its process, anew if it had one."""
        frontend.starts += 1
        command = frontend.addresses.frontend_command(
            "--cache-dir", str(LOCAL / "kvmesh-cache"), *frontend.options
        )
        name = f"frontend{frontend.number}"
        frontend.process = self._stack.enter_context(
            start(command, self._log(f"{name}-{frontend.starts}"), name=name)
        )

    def restart_worker(self, number: int) -> None:
        """Start a worker in the place of one that ended."""
        self.workers[number] = self._worker(number)

    def wait_for_workers(self, count: int, frontends: Sequence[Frontend] | None = None) -> None:
        """Wait until each frontend has so many workers that take work."""
        for frontend in frontends or self.frontends:
            assert frontend.process is not None

            def ready(addresses: Addresses = frontend.addresses) -> bool:
                return addresses.workers_ready() >= count

            wait_until(ready, f"{count} workers of {frontend.process.name}", [frontend.process])

    def signal_worker(self, number: int, sign: int) -> float:
        """Send it; returns the wall clock, in which logs are written."""
        os.kill(self.workers[number].pid, sign)
        return time.time()

    def exit_code(self, number: int, wait_s_max: float = 30.0) -> int | None:
        """Of a worker that ends within this time; None if it does not."""
        popen = self.workers[number].popen
        with suppress(subprocess.TimeoutExpired):
            popen.wait(wait_s_max)
        return popen.returncode

    def processes(self) -> dict[str, int]:
        """Name → pid of what runs."""
        found = {
            f"frontend{each.number}": each.process.pid
            for each in self.frontends
            if each.process and each.process.alive()
        }
        return found | {
            f"worker{number}": process.pid
            for number, process in enumerate(self.workers)
            if process.alive()
        }

    def _worker(self, number: int) -> Process:
        self._starts += 1
        proxy = self.proxies.get(number)
        command = worker_command(
            [proxy.address] if proxy else [frontend.mesh for frontend in self.frontends],
            *("--engine", "sim", "--worker-id", f"w{number}", "--served-model-name", MODEL),
            *("--sim-speedup", f"{self._speedup:g}", "--context-length", "32768"),
            *self.shape.worker_options,
            *self.shape.options_of.get(number, ()),
        )
        name = f"worker{number}"
        return self._stack.enter_context(
            start(command, self._log(f"{name}-{self._starts}"), name=name)
        )

    def _log(self, name: str) -> Path:
        return LOCAL / "logs" / "faults" / self._name / f"{name}.log"


def thaw(fleet: Fleet) -> None:
    """Let every stopped worker go on, so that it can be told to end."""
    for process in fleet.workers:
        if process.alive():
            os.kill(process.pid, signal.SIGCONT)
