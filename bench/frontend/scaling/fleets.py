"""Frontends of so many processes on so many cores, each with simulated workers of its own."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.frontend.scaling.cores import Placing, on
from bench.frontend.scaling.loads import MODEL
from starter.addresses import Addresses
from starter.fleet import Fleet
from starter.process import Process
from starter.waiting import wait_until

_WORKER: Final = (
    *("--engine", "sim", "--served-model-name", MODEL),
    *("--sim-speedup", "0", "--context-length", "4096"),
)
"""Has no pace of its own: the engines are never what is waited for, while they have a core."""


@dataclass(frozen=True, order=True)
class Case:
    """A Case is a frontend of so many processes, which have so many cores together."""

    processes: int
    cores: int

    def __str__(self) -> str:
        """Returns its name in results."""
        return f"{self.processes} on {self.cores}"


def cases(counts: Sequence[int], placed: Placing) -> list[Case]:
    """A case for each count with a core a process, and one process with the cores that the next
    count has: what a host gains by the count is beside what one process makes of the same cores.
    """
    if not placed.apart:
        return [Case(count, len(placed.frontends)) for count in counts]
    return sorted({Case(count, count) for count in counts} | {Case(1, each) for each in counts[:2]})


@dataclass(frozen=True)
class Running:
    """A case's processes."""

    fleet: Fleet
    frontend: Process
    workers: Sequence[Process]


def started(case: Case, folder: Path, stack: ExitStack, placed: Placing, workers: int) -> Running:
    """Starts a case, and waits until all its processes have all its workers."""
    folder.mkdir()
    fleet = Fleet(folder, Addresses(mesh=f"ipc://{folder}/mesh"))
    stack.callback(fleet.stop)
    with on(placed.frontends[: case.cores] if placed.apart else placed.workers):
        frontend = fleet.frontend(
            "--frontend-processes", str(case.processes), "--log-level", "warning"
        )
    with on(placed.workers):
        engines = [fleet.worker(*_WORKER) for _ in range(workers)]
    wait_until(
        lambda: all(one.output().count("accepted us") == case.processes for one in engines),
        "all processes took the workers in",
        fleet.processes,
    )
    return Running(fleet, frontend, engines)
