"""A model's ranks lie in one pool for each stage, and a request goes to the pool of its stage."""

import pytest
from msgspec.structs import replace

from frontend.fleet.model_entry import DECODE, PREFILL, STAGES, WHOLE
from protocol.errors import NoWorker
from tests.unit.mesh.dispatch_bench import CAPACITY, Bench

TWO_RANKS = replace(CAPACITY, dp_size=2)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_ranks_lie_in_the_pool_of_their_stage(bench: Bench) -> None:
    whole = bench.join("a", WHOLE, capacity=TWO_RANKS)
    prefill = bench.join("b", PREFILL, capacity=TWO_RANKS)
    pools = {stage: bench.entry.pool(stage) for stage in STAGES}
    filled = {stage: ranks for stage, ranks in pools.items() if ranks}
    assert filled == {WHOLE: whole.ranks, PREFILL: prefill.ranks}
    assert bench.entry.ranks == whole.ranks
    bench.registry.drain(whole)
    assert (bench.entry.ranks, bench.entry.pool(PREFILL)) == ([], prefill.ranks)


async def test_a_stage_alone_serves_nobody(bench: Bench) -> None:
    bench.join("a", PREFILL)
    assert (bench.entry.ready, bench.entry.lacks) == (False, {WHOLE, DECODE})
    with pytest.raises(NoWorker, match="No decode worker serves the model 'm' at the moment"):
        await bench.place()
    bench.join("b", WHOLE)
    assert (bench.entry.ready, bench.entry.lacks) == (True, set())
    assert [(await bench.place()).worker_id for _ in range(2)] == ["b", "b"]
