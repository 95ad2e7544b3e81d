"""Who may come: for whom a request that was being served waits when nobody takes it, and when there
is nobody to wait for any more.
"""

from types import SimpleNamespace
from typing import cast

import pytest

from frontend.fleet.hopes import hopes
from frontend.fleet.loading import LOADING_REMEMBERED_S
from frontend.fleet.missed import MISSED_S_MAX
from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.registry import Registry
from frontend.fleet.worker import Phase, Worker
from frontend.mesh.offer import Offer, may_come
from frontend.models.served import ServedModel
from frontend.routing.admission import AdmissionQueue
from frontend.routing.route import RouteRequest
from kv_events.index import BlockBudget
from protocol.generation import Generate, Sampling
from protocol.losses import LossCause
from protocol.membership import Capacity, Hello, Loading, ModelCard


class Bench:
    """A registry and one model, "m"."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.registry = Registry(
            lambda: cast("AdmissionQueue", SimpleNamespace(room=lambda: self.called.append("room")))
        )
        self.first = self.join("first", "poet")
        self.entry = self.model()

    def model(self) -> ModelEntry:
        entry = self.registry.entry("m")
        assert entry is not None
        return entry

    def hello(
        self, worker_id: str, *adapters: str, model: str = "m", context_length: int = 8
    ) -> Worker:
        card = ModelCard(
            name=model, context_length=context_length, vocab_size=100, eos_token_ids=[0], files=[]
        )
        capacity = Capacity(dp_size=1, kv_tokens=1_000, page_size_tokens=10, requests_running_max=1)
        hello = Hello(
            worker_id, 1, "text", "dyn://n.c.e", card, capacity, 1, adapters=list(adapters)
        )
        worker = Worker(worker_id.encode(), hello, 0.0, BlockBudget(100))
        self.registry.connect(worker)
        return worker

    def join(self, worker_id: str, *adapters: str, context_length: int = 8) -> Worker:
        worker = self.hello(worker_id, *adapters, context_length=context_length)
        self.registry.serve(worker, ServedModel(worker.hello.card, None, {}))  # type: ignore[arg-type]
        return worker

    def lose(self, worker: Worker, cause: LossCause, now: float = 0.0) -> None:
        self.registry.leave(worker)
        self.registry.missed.note(worker, cause, now)

    def hope(
        self,
        *,
        now: float = 0.0,
        avoid: str = "",
        adapter: str | None = None,
        pinned: str | None = None,
    ) -> bool:
        request = Generate("0" * 32, "m", b"", Sampling(1), 1, lora_name=adapter)
        offer = Offer(
            request, RouteRequest(b"", worker_id=pinned), avoid=frozenset((avoid,)), admitted=True
        )
        return may_come(offer, hopes(self.registry, self.entry, now, patient=offer.admitted))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("cause", "hope"),
    [
        ("silent", True),
        ("out_of_step", True),
        ("died", False),
        ("stopped", False),
        ("restarted", False),
        ("unhealthy", False),
    ],
)
def test_who_may_live_may_come_back(bench: Bench, cause: LossCause, hope: bool) -> None:
    bench.lose(bench.first, cause)
    assert bench.hope() is hope


def test_nobody_is_waited_for_for_ever(bench: Bench) -> None:
    bench.lose(bench.first, "silent", now=1.0)
    bench.registry.missed.expire(1.0 + MISSED_S_MAX)
    assert bench.hope()
    bench.registry.missed.expire(1.1 + MISSED_S_MAX)
    assert not bench.hope()


def test_one_that_turns_out_to_be_gone_or_drains_does_not_come_back(bench: Bench) -> None:
    bench.lose(bench.first, "silent")
    bench.registry.missed.gone(b"first")
    assert not bench.hope()
    second = bench.join("second")
    bench.registry.drain(second)
    bench.lose(second, "silent")
    assert not bench.hope()


def test_one_that_introduces_itself_is_joining_until_it_leaves(bench: Bench) -> None:
    bench.lose(bench.first, "silent")
    again = bench.hello("first")
    assert not list(bench.registry.missed)
    assert bench.hope()
    bench.registry.leave(again)
    assert not bench.hope()


def test_one_that_loads_may_come_as_long_as_it_says_so(bench: Bench) -> None:
    bench.lose(bench.first, "died")
    for model in ("other", "m"):
        bench.registry.loading.note(Loading("new", model, "loading", 1.0), 5.0)
        assert bench.hope(now=5.0 + LOADING_REMEMBERED_S) is (model == "m")
    assert not bench.hope(now=5.1 + LOADING_REMEMBERED_S)


def test_an_engine_that_does_not_answer_may_recover(bench: Bench) -> None:
    assert not bench.hope()  # it is there: whoever finds no room there waits for that
    bench.first.unhealthy = "no answer"
    assert bench.hope()
    bench.registry.drain(bench.first)
    assert not bench.hope()


def test_only_one_that_would_do_is_waited_for(bench: Bench) -> None:
    bench.lose(bench.first, "silent")
    bench.hello("other", model="other")
    assert bench.hope(adapter="poet")
    assert bench.hope(pinned="first")
    assert not bench.hope(adapter="clerk")
    assert not bench.hope(pinned="second")
    assert not bench.hope(avoid="first")
    joining = bench.hello("second", "clerk")
    assert joining.phase is Phase.JOINING
    assert bench.hope(adapter="clerk")
    assert bench.hope(avoid="first")


def test_tokens_of_one_generation_never_go_to_another(bench: Bench) -> None:
    bench.lose(bench.first, "silent")
    bench.called.clear()
    bench.hello("joining", context_length=16)
    assert bench.hope()  # for the first one
    bench.join("upgraded", context_length=16)
    assert bench.called[0] == "room"  # whoever waits for the first one hears that it is in vain
    assert not bench.hope()
    assert (bench.entry.ranks, bench.model().served.card.context_length) == ([], 16)
    bench.lose(next(iter(bench.model().workers)), "silent")
    bench.entry = bench.model()
    bench.join("upgraded", context_length=16)
    assert bench.model() is bench.entry
