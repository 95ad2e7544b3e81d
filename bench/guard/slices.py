"""Slices of a load, each told as instructions: what a chat or token costs each process."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.guard.loads import Load
from bench.guard.systems import Side
from bench.kit.load import LoadFailed, run_load

SLICES: Final = 3
"""Their median counts: where Python's collector goes through all objects is chance, and one slice
in several has a pass more of it.
"""

TRIES_MAX: Final = 4
"""Of one slice. Beside very much other work a frontend that is counted may take a worker's delay
for its death, or write tokens later than they come.
"""

REST_S: Final = 4.0
"""In which sixteen heartbeats come."""

MERGED_MAX: Final = 0.1
"""Share of the tokens that may come together with others."""


class TooSlow(RuntimeError):
    """Tokens came faster than they were written, so what each costs was not measured."""


def alone(tokens: int, events: int) -> None:
    """Sees that tokens came one by one.

    Args:
        events: in which they came.
    Raises:
        TooSlow: they did not.
    """
    if events < tokens * (1 - MERGED_MAX):
        raise TooSlow(f"{tokens} tokens came in {events} events")


def tried(slice_: Callable[[], dict[str, int]], ready: Callable[[], None]) -> dict[str, int]:
    """A slice, or another one if other work spoilt it.

    Args:
        ready: waits until there may be another.
    Raises:
        LoadFailed, TooSlow: too many in a row were spoilt.
    """
    for _ in range(TRIES_MAX - 1):
        try:
            return slice_()
        except (LoadFailed, TooSlow) as error:
            print(f"a slice is taken again: {error}", flush=True)
            ready()
    return slice_()


def measured(load: Load, bodies: Path, kvmesh: Side, bare: Side) -> dict[str, list[int]]:
    """Instructions of one chat or token by process, a figure for each slice, after one slice that
    warms both sides up. Without those that come by the second, whether or not somebody asks.
    """

    def one(resting: Mapping[str, float]) -> dict[str, int]:
        ours = tried(lambda: _slice(load, bodies, kvmesh, load.requests, resting), kvmesh.ready)
        return ours | tried(
            lambda: _slice(load, bodies, bare, load.bare_requests, resting), bare.ready
        )

    one({})
    resting = _resting(kvmesh, bare)
    slices = [one(resting) for _ in range(SLICES)]
    return {process: [each[process] for each in slices] for process in slices[0]}


def middle(slices: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The median of each process."""
    return {process: int(median(each)) for process, each in slices.items()}


def _resting(*sides: Side) -> dict[str, float]:
    """Instructions a second of each process while nobody asks it."""
    processes = {name: each for side in sides for name, each in side.processes.items()}
    for counted in processes.values():
        counted.lap()
    begun_at = time.monotonic()
    time.sleep(REST_S)
    return {
        name: counted.lap() / (time.monotonic() - begun_at) for name, counted in processes.items()
    }


def _slice(
    load: Load, bodies: Path, side: Side, requests: int, resting: Mapping[str, float]
) -> dict[str, int]:
    for counted in side.processes.values():
        counted.lap()
    begun_at = time.monotonic()
    told: dict[str, Any] = run_load(
        side.port, bodies, concurrency=load.concurrency, requests=requests
    )
    laps = {name: counted.lap() for name, counted in side.processes.items()}
    took_s = time.monotonic() - begun_at
    if load.shape.stream:
        alone(told["tokens"], told["content_events"])
    return {
        name: round((instructions - resting.get(name, 0) * took_s) / told[load.count])
        for name, instructions in laps.items()
    }
