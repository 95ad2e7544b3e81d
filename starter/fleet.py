"""A kvmesh fleet of processes: whatever is started around one frontend's addresses."""

import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from starter.addresses import Addresses, worker_command
from starter.process import STOP_S_MAX, Process, start
from starter.waiting import READY_S_MAX, wait_until

_MEANT: Final = (0, -signal.SIGKILL)
"""Ends that a waiting fleet takes for its owner's doing."""


@dataclass
class Fleet:
    """A frontend's addresses and the processes that serve there, frontends and workers alike.

    Attributes:
        directory: holds a log for each process and the cache of all.
        processes: in the order of their starts; those that ended too.
    """

    directory: Path
    addresses: Addresses = field(default_factory=Addresses)
    processes: list[Process] = field(default_factory=list[Process])

    @property
    def url(self) -> str:
        """The base of the frontend's pages, without `/v1`."""
        return self.addresses.url

    @property
    def mesh(self) -> str:
        """The address that workers dial."""
        return self.addresses.mesh

    @property
    def http_port(self) -> int:
        """The port that clients ask."""
        return self.addresses.http_port

    def launch(
        self,
        name: str,
        command: Sequence[object],
        *,
        env: Mapping[str, str] | None = None,
        by: Callable[..., Process] = start,
    ) -> Process:
        """Start a command whose log has this name; the fleet ends it.

        Args:
            by: starts it, as starter.process.start does.
        """
        process = by(
            command,
            self.directory / f"{len(self.processes)}-{name}.log",
            name=name,
            environment={"KVMESH_CACHE_DIR": str(self.directory / "cache"), **(env or {})},
        )
        self.processes.append(process)
        return process

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> Process:
        """Start `python -m …`."""
        return self.launch(arguments[0], [sys.executable, "-m", *arguments], env=env)

    def frontend(self, *options: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a frontend at the fleet's addresses."""
        return self.launch("frontend", self.addresses.frontend_command(*options), env=env)

    def worker(self, *options: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a worker that dials the fleet's mesh address."""
        return self.launch("worker", worker_command([self.mesh], *options), env=env)

    def get(self, path: str) -> tuple[int, Any]:
        """The status and the JSON of a page of the frontend.

        Raises:
            OSError: nobody answers.
        """
        return self.addresses.get(path)

    def wait_until(
        self,
        condition: Callable[[], bool],
        what: str,
        *,
        wait_s_max: float = READY_S_MAX,
        may_end: Collection[int] = (),
    ) -> None:
        """Wait for a condition; processes may have been stopped or killed meanwhile.

        Args:
            may_end: further exit codes with which they may end.
        Raises:
            NotReady: time is up, or a process ended otherwise.
        """
        meant = (*_MEANT, *may_end)
        wait_until(condition, what, self.processes, wait_s_max=wait_s_max, may_end=meant)

    def wait_for_workers(self, count: int, *, wait_s_max: float = READY_S_MAX) -> None:
        """Wait until so many workers take work, no more and no fewer.

        Raises:
            NotReady: time is up, or a process ended.
        """
        self.wait_until(
            lambda: self.addresses.workers_ready() == count,
            f"{count} workers ready",
            wait_s_max=wait_s_max,
        )

    def stop(self, wait_s_max: float = STOP_S_MAX) -> None:
        """Ask every process to end and await its end, the latest one first.

        Raises:
            subprocess.TimeoutExpired: one did not, and was killed; the others have been asked all
                the same.
        """
        with ExitStack() as stack:
            for process in self.processes:
                stack.callback(process.stop, wait_s_max=wait_s_max)
