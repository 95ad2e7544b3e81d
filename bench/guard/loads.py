"""The loads of the guard: what both sides are sent, and by what their instructions are divided."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.kit.workloads import Corpus, Shape, fresh, write_bodies

STREAMS: Final = 16
"""As many as a frontend that is counted keeps up with: beside other work it took sixty-four at once
for so long that its workers seemed dead to it.
"""


@dataclass(frozen=True, kw_only=True)
class Load:
    """One load, sent in slices.

    Attributes:
        count: key of the load generator's result by which instructions are divided.
        concurrency: how many of them at once.
        requests: of a slice, to kvmesh.
        bare_requests: of a slice, to the bare app.
        speed: of kvmesh's engine, beside the timing model's; 0: without limit.
    """

    name: str
    count: str
    shape: Shape
    concurrency: int
    requests: int
    bare_requests: int
    speed: float

    def write(self, corpus: Corpus, folder: Path) -> Path:
        """Writes the bodies of a slice, the same ones every time."""
        bodies = fresh(corpus, self.shape, self.requests, seed=1)
        return write_bodies(bodies, folder / f"{self.name}.jsonl")


LOADS: Final = (
    Load(
        name="chat",
        count="ok",
        shape=Shape(input_tokens=128, output_tokens=1, model="chat"),
        concurrency=1,
        requests=128,
        bare_requests=512,
        speed=0,
    ),
    Load(
        name="token",
        count="tokens",
        shape=Shape(input_tokens=128, output_tokens=128, stream=True, model="token"),
        concurrency=STREAMS,
        requests=STREAMS,
        bare_requests=2 * STREAMS,
        speed=0.15,
    ),
)
"""Slices of one to six seconds. Chats come one by one: of several at once some are taken together,
which costs less, and how many hangs on what else the machine does (a tenth of the worker's part).

A program that is counted is some fifty times slower, so the streams' engine is slow, too: a step
takes it 40 ms, of which the frontend needs 10 for 16 tokens. One that came late would write several
tokens at once, which costs less.
"""
