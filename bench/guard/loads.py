"""The loads of the guard: what both sides are sent, and by what their CPU time is divided."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.kit.workloads import Corpus, Shape, fresh, write_bodies

CONCURRENCY: Final = 64


@dataclass(frozen=True, kw_only=True)
class Load:
    """One load, sent in slices, of which the median counts.

    Attributes:
        count: key of the load generator's result by which CPU time is divided.
        requests: of a slice, to kvmesh.
        speed: of its engine, beside the timing model's.
        bare_requests: of a slice, to the bare app.
        slices: of a round.
        bare_paced: the app keeps the pace of the timing model, and both sides are asked at once;
            otherwise it takes all it can get, and is asked after kvmesh.
    """

    name: str
    count: str
    shape: Shape
    requests: int
    bare_requests: int
    slices: int
    speed: float = 1.0
    bare_paced: bool = False

    def write(self, corpus: Corpus, folder: Path) -> Path:
        """Writes the bodies of a slice, the same ones every time."""
        bodies = fresh(corpus, self.shape, self.requests, seed=1)
        return write_bodies(bodies, folder / f"{self.name}.jsonl")


LOADS: Final = (
    Load(
        name="chat",
        count="ok",
        shape=Shape(input_tokens=128, output_tokens=1, model="chat"),
        requests=6 * CONCURRENCY,
        speed=0.25,
        bare_requests=3_000,
        slices=4,
    ),
    Load(
        name="token",
        count="tokens",
        shape=Shape(input_tokens=128, output_tokens=128, stream=True, model="token"),
        requests=CONCURRENCY,
        bare_requests=CONCURRENCY,
        slices=3,
        bare_paced=True,
    ),
)
"""Slices of half a second to one, so that kvmesh and the app meet the same other work, and one
heartbeat more or less is not seen. Engines keep a pace that leaves the host time:
without one all processes take what they can get, and how many messages travel together, on which
costs hang, goes by what else the host does (a worker's chat cost 55 µs in one minute and 190 in
another).
"""
