"""Whatever befalls pictures that wait, in whatever order: each request for them ends once, whoever
fetches gets its own pictures or none, and nothing is left.
"""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import Encoded
from protocol.generation import Finished
from protocol.replies import Failed
from tests.unit.encoding.encoder_bench import (
    BATCH_S,
    Connection,
    EncoderBench,
    FakeEncoder,
    named,
    on_virtual_time,
)
from workers.encoding.engine import KEPT_S_MAX

DIGESTS = st.integers(1, 6)
REQUESTS = st.integers(0, 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.lists(DIGESTS, min_size=1, max_size=4), st.integers(-1, 1)),
        st.tuples(st.just("abort"), REQUESTS),
        st.tuples(st.just("fetch"), REQUESTS, st.booleans(), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([0.0, BATCH_S / 3, BATCH_S, KEPT_S_MAX])),
        st.tuples(st.just("bad"), DIGESTS),
        st.tuples(st.just("break")),
        st.tuples(st.just("late")),
    ),
    max_size=30,
)


class _Ordered:
    """What was asked of one engine, and over which connections it is fetched."""

    def __init__(self, bench: EncoderBench) -> None:
        self.bench = bench
        self.asked: list[list[int]] = []
        self.connections: dict[tuple[int, bool], Connection] = {}
        self.all: list[tuple[int, bool, Connection]] = []

    async def do(self, step: tuple[Any, ...]) -> None:
        bench = self.bench
        match step:
            case ("submit", digests, priority):
                bench.submit(len(self.asked), *digests, priority=priority, fetches=2)
                self.asked.append(digests)
            case ("abort", number):
                bench.engine.abort(named(number))
            case ("fetch", number, grids_only, reconnected):
                connection = self.connections.get((number, grids_only))
                if connection is None or reconnected:
                    connection = self.connections[number, grids_only] = Connection([])
                    self.all.append((number, grids_only, connection))
                bench.fetch(number, connection, grids_only=grids_only)
            case ("wait", seconds):
                await asyncio.sleep(seconds)
            case ("bad", digest):
                bench.encoder.bad.add(digest)
            case ("break",):
                bench.encoder.raises = RuntimeError("injected")
            case ("late",):
                bench.unix_ms = 2_500 if bench.unix_ms < 2_000 else 1_000
            case _:
                raise AssertionError(step)


@given(steps=STEPS, cache_bytes=st.sampled_from([0, 1_200, 1 << 20]), batch_max=st.integers(1, 3))
def test_every_order_ends_once(
    steps: list[tuple[Any, ...]], cache_bytes: int, batch_max: int
) -> None:
    _lived(steps, cache_bytes, batch_max)


@on_virtual_time
async def _lived(steps: list[tuple[Any, ...]], cache_bytes: int, batch_max: int) -> None:
    bench = await EncoderBench(FakeEncoder(batch_max), cache_bytes=cache_bytes).started()
    ordered = _Ordered(bench)
    for step in steps:
        await ordered.do(step)
    await asyncio.sleep(30 * BATCH_S + 2 * KEPT_S_MAX)
    assert bench.tables == [0, 0, 0, 0, 0, 0]
    for number in range(len(ordered.asked)):
        [end] = bench.ends[named(number)]
        assert isinstance(end, Encoded | Failed | Finished)
    for number, grids_only, connection in ordered.all:
        for answer in connection.heard:
            assert answer.request_id == named(number)
            if answer.encodings:
                assert isinstance(bench.ends[named(number)][0], Encoded)
                assert len(answer.encodings) == len(ordered.asked[number])
                assert {each.holds for each in answer.encodings} == (
                    {"grid"} if grids_only else {"vectors"}
                )
        assert all(
            digests == ordered.asked[number] for digests in connection.digests if not grids_only
        )
