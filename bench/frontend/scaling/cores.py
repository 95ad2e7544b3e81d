"""Cores of a host are given to frontends, workers and generators of load, each its own."""

import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TOPOLOGY: Final = Path("/sys/devices/system/cpu")

PAIRED_CORES_MIN: Final = 16

SPIN_S: Final = 0.5
_SPIN: Final = """
import sys, time
at = time.perf_counter() + float(sys.argv[1])
turns = 0
while time.perf_counter() < at:
    sum(range(1_000))
    turns += 1
print(turns)
"""


@dataclass(frozen=True)
class Placing:
    """Says on which cores what runs.

    Attributes:
        frontends: in the order in which they are taken: no two are threads of one core, and the
            other threads of these cores are left idle.
        workers: of all fleets.
        generators: of load; where there is but one core beside the frontends', it is the workers'.
        apart: whether the frontends have their cores to themselves.
    """

    frontends: Sequence[int]
    workers: frozenset[int]
    generators: frozenset[int]
    apart: bool


def placing(cores: Sequence[Sequence[int]], frontends: int) -> Placing:
    """Returns where everything runs.

    Args:
        cores: each with its threads that this process may use.
        frontends: how many cores these get at most.
    """
    first = [threads[0] for threads in cores]
    rest = [thread for threads in cores[frontends:] for thread in threads]
    if not rest:  # all share all
        everywhere = frozenset(thread for threads in cores for thread in threads)
        return Placing(first, everywhere, everywhere, apart=False)
    generators = max(1, len(rest) // 3)
    return Placing(
        first[:frontends],
        frozenset(rest[generators:] or rest),
        frozenset(rest[:generators]),
        apart=True,
    )


def cores_here() -> list[list[int]]:
    """The cores of this host that this process may use, each as the list of its threads."""
    cores: dict[str, list[int]] = {}
    for thread in sorted(os.sched_getaffinity(0)):
        told = TOPOLOGY / f"cpu{thread}/topology/thread_siblings_list"
        cores.setdefault(told.read_text() if told.exists() else str(thread), []).append(thread)
    return paired(list(cores.values()))


def paired(cores: list[list[int]]) -> list[list[int]]:
    """Returns neighbours as threads of one core where a large host tells of no core with two: many
    hide it, and count them side by side.
    """
    if len(cores) < PAIRED_CORES_MIN or max(map(len, cores)) > 1:
        return cores
    return [first + second for first, second in zip(cores[::2], cores[1::2], strict=False)]


@contextmanager
def on(threads: Iterable[int]) -> Generator[None]:
    """Has the calling thread, and what it starts meanwhile, run on these alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, threads)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def spun(threads: Sequence[int]) -> float:
    """How often a second programs that only compute go round together, one on each of these.

    What they do not gain by further ones, no frontend can gain on this host.
    """
    began = time.perf_counter()
    spinning: list[subprocess.Popen[str]] = []
    for thread in threads:
        with on({thread}):
            command = [sys.executable, "-c", _SPIN, str(SPIN_S)]
            spinning.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    turns = sum(int(process.communicate()[0]) for process in spinning)
    assert time.perf_counter() - began >= SPIN_S
    return turns / SPIN_S
