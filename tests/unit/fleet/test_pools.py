"""A model's ranks lie in one pool for each stage, and a request goes to the pool of its stage."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from frontend.fleet.model_entry import STAGES, WHOLE, ModelEntry
from frontend.fleet.registry import Registry
from frontend.fleet.stream import Wakeup
from frontend.fleet.worker import Worker
from frontend.mesh.dispatch import Dispatch, Offer
from frontend.observe.metrics import FrontendMetrics
from frontend.routing.admission import AdmissionQueue
from frontend.routing.policies.round_robin import RoundRobin
from frontend.routing.route import RouteRequest
from frontend.routing.router import Lifetimes, Router
from frontend.routing.waiting_memory import WaitingMemory
from kv_events.index import BlockBudget
from protocol.errors import NoWorker
from protocol.generation import Generate, Sampling
from protocol.membership import Capacity, Hello, ModelCard, Stage

CARD = ModelCard(name="m", context_length=8, vocab_size=100, eos_token_ids=[0], files=[])
CAPACITY = Capacity(dp_size=2, kv_tokens=1_000, page_size_tokens=10, requests_running_max=4)


class Bench:
    def __init__(self) -> None:
        self.registry = Registry(lambda: AdmissionQueue(WaitingMemory(1 << 20), None))
        self.sent: list[str] = []
        wire: Any = SimpleNamespace(send=self._send)
        lifetimes = Lifetimes(predicted_s=1.0, assumed_s=1.0, session_s=1.0)
        self.dispatch = Dispatch(
            self.registry,
            wire,
            Router("round-robin", RoundRobin(), lifetimes),
            FrontendMetrics().router,
            lambda: 0.0,
        )

    def join(self, worker_id: str, stage: Stage) -> Worker:
        hello = Hello(worker_id, 1, "text", "dyn://n.c.e", CARD, CAPACITY, 4, stage=stage)
        worker = Worker(worker_id.encode(), hello, 0.0, BlockBudget(100))
        self.registry.connect(worker)
        self.registry.serve(worker, SimpleNamespace(card=CARD))  # type: ignore[arg-type]
        return worker

    @property
    def entry(self) -> ModelEntry:
        entry = self.registry.entry("m")
        assert entry is not None
        return entry

    async def place(self, stage: Stage) -> str:
        number = len(self.sent)
        request = Generate(f"{number:032}", "m", b"1234", Sampling(1), 1)
        offer = Offer(request, RouteRequest(b"1234"), stage=stage)
        wakeup = Wakeup(asyncio.get_running_loop())
        return (await self.dispatch.place(self.entry, offer, wakeup)).worker_id

    def _send(self, worker: Worker, _: Any) -> bool:
        self.sent.append(worker.worker_id)
        return True


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_ranks_lie_in_the_pool_of_their_stage(bench: Bench) -> None:
    whole, prefill = bench.join("a", WHOLE), bench.join("b", "prefill")
    pools = {stage: bench.entry.pool(stage) for stage in STAGES}
    filled = {stage: ranks for stage, ranks in pools.items() if ranks}
    assert filled == {WHOLE: whole.ranks, "prefill": prefill.ranks}
    assert bench.entry.ranks == whole.ranks
    bench.registry.drain(whole)
    assert (bench.entry.ranks, bench.entry.pool("prefill")) == ([], prefill.ranks)


async def test_a_request_goes_to_the_pool_of_its_stage_and_to_no_other(bench: Bench) -> None:
    bench.join("a", "prefill")
    with pytest.raises(NoWorker):
        await bench.place(WHOLE)
    bench.join("b", WHOLE)
    assert [await bench.place(WHOLE) for _ in range(2)] == ["b", "b"]
    assert await bench.place("prefill") == "a"
