"""A model's ranks lie in one pool for each stage, and a request goes to the pool of its stage."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from frontend.fleet.model_entry import DECODE, PREFILL, STAGES, WHOLE, ModelEntry
from frontend.fleet.registry import Registry
from frontend.fleet.stream import Wakeup
from frontend.fleet.worker import Worker
from frontend.mesh.dispatch import Dispatch
from frontend.mesh.offer import Offer
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
            chance=lambda _: 0,
            disagg_min_prompt=0,
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

    async def place(self) -> str:
        number = len(self.sent)
        request = Generate(f"{number:032}", "m", b"1234", Sampling(1), 1)
        offer = Offer(request, RouteRequest(b"1234"))
        wakeup = Wakeup(asyncio.get_running_loop())
        return (await self.dispatch.place(self.entry, offer, wakeup)).worker_id

    def _send(self, worker: Worker, _: Any) -> bool:
        self.sent.append(worker.worker_id)
        return True


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_ranks_lie_in_the_pool_of_their_stage(bench: Bench) -> None:
    whole, prefill = bench.join("a", WHOLE), bench.join("b", PREFILL)
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
    assert [await bench.place() for _ in range(2)] == ["b", "b"]
