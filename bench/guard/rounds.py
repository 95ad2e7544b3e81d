"""Rounds of a load, each told as ratios: what a chat or token costs a process of kvmesh, beside
what it costs the bare app.
"""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.guard.loads import CONCURRENCY, Load
from bench.guard.systems import Side
from bench.kit.load import run_load
from bench.kit.usage import cpu_s, host_cpu_s, own_cpu_s


@dataclass(frozen=True)
class Slice:
    """One slice: CPU of one chat or token in µs, and the cores that others of the host took
    meanwhile.
    """

    bare_us: float
    costs_us: Mapping[str, float]
    others_cores: float


@dataclass(frozen=True)
class Round:
    """The medians of a round's slices."""

    bare_us: float
    costs_us: Mapping[str, float]
    others_cores: float

    @classmethod
    def of(cls, slices: list[Slice]) -> "Round":
        """That of these slices, of which there is at least one."""
        return cls(
            median(each.bare_us for each in slices),
            {name: median(each.costs_us[name] for each in slices) for name in slices[0].costs_us},
            median(each.others_cores for each in slices),
        )

    @property
    def ratios(self) -> dict[str, float]:
        """Costs by the name of the process, in costs of the bare app."""
        return {name: cost_us / self.bare_us for name, cost_us in self.costs_us.items()}


class Rounds:
    """Takes rounds of one load, after one slice that warms both sides up.

    Args:
        sides: kvmesh and the bare app.
    """

    def __init__(self, load: Load, sides: tuple[Side, Side], bodies: Path) -> None:
        self._load, self._sides, self._bodies = load, sides, bodies
        self._slice()

    def take(self, count: int) -> list[Round]:
        """So many rounds."""
        return [Round.of([self._slice() for _ in range(self._load.slices)]) for _ in range(count)]

    def _slice(self) -> Slice:
        kvmesh, bare = self._sides
        begun_at, host_s, own_s = time.monotonic(), host_cpu_s(), _own_s(kvmesh, bare)
        at_once = 2 if self._load.bare_paced else 1
        with ThreadPoolExecutor(at_once) as pool:
            ours = pool.submit(self._costs_us, kvmesh, self._load.requests)
            theirs = pool.submit(self._costs_us, bare, self._load.bare_requests)
        others_s = host_cpu_s() - host_s - (_own_s(kvmesh, bare) - own_s)
        return Slice(
            sum(theirs.result().values()),
            ours.result(),
            max(0.0, others_s / (time.monotonic() - begun_at)),
        )

    def _costs_us(self, side: Side, requests: int) -> dict[str, float]:
        before_s = {name: cpu_s(pid) for name, pid in side.processes.items()}
        told = run_load(side.port, self._bodies, concurrency=CONCURRENCY, requests=requests)
        us = 1e6 / told[self._load.count]
        return {name: (cpu_s(pid) - before_s[name]) * us for name, pid in side.processes.items()}


def _own_s(*sides: Side) -> float:
    """CPU seconds of all that is measured, and of this process with what it started and ended."""
    measured_s = sum(own_cpu_s(pid) for side in sides for pid in side.processes.values())
    times = os.times()
    return measured_s + times.user + times.system + times.children_user + times.children_system
