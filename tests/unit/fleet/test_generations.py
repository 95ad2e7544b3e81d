"""Two generations of a model while an update replaces its workers, and names that models and
aliases both want.
"""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from frontend.api.launching import Launcher
from frontend.api.vectors.schemas import EmbeddingRequest
from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.registry import GENERATIONS_MAX, Registry
from frontend.fleet.worker import Worker
from frontend.models.served import ServedModel
from frontend.routing.admission import AdmissionQueue
from frontend.routing.route import Weights
from kv_events.index import BlockBudget
from protocol.membership import Capacity, Hello, ModelCard, Service


class Queue:
    def __init__(self) -> None:
        self.waiting = 0

    def __len__(self) -> int:
        return self.waiting

    def room(self) -> None:
        pass

    def turn_away(self, priority: int) -> None:
        pass


class Bench:
    def __init__(self) -> None:
        self.registry = Registry(lambda: cast("AdmissionQueue", Queue()))

    def join(
        self,
        worker_id: str,
        context: int = 8,
        name: str = "m",
        service: Service = "text",
        **card: Any,
    ) -> Worker:
        model = ModelCard(
            name=name, context_length=context, vocab_size=100, eos_token_ids=[0], files=[], **card
        )
        capacity = Capacity(dp_size=1, kv_tokens=1_000, page_size_tokens=10, requests_running_max=4)
        worker = Worker(
            worker_id.encode(),
            Hello(worker_id, 1, service, "dyn://n.c.e", model, capacity, 8),
            0.0,
            BlockBudget(100),
        )
        self.registry.connect(worker)
        if not self.registry.conflict(worker):
            self.registry.serve(worker, ServedModel(model, None, {}))  # type: ignore[arg-type]
        return worker

    def context(self, name: str = "m", worker_id: str | None = None) -> int:
        return self.entry(name, worker_id).served.card.context_length

    def entry(self, name: str = "m", worker_id: str | None = None) -> ModelEntry:
        entry = self.registry.entry(name, worker_id)
        assert entry is not None
        return entry


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_update_has_both_generations_serve_until_the_old_one_is_gone(bench: Bench) -> None:
    old = [bench.join("a"), bench.join("b")]
    new = bench.join("c", 16)
    assert bench.context() == 16  # as idle as the old one
    assert [bench.context(worker_id=name) for name in "abc"] == [8, 8, 16]
    assert [entry.served.card.context_length for entry in bench.registry.available()] == [16]
    new.ranks[0].book(1, 1)
    assert bench.context() == 8
    for worker in old:
        for _ in range(2):
            worker.ranks[0].book(1, 1)
    assert bench.context() == 16  # of eight places there four are taken, and one of four here
    bench.entry().queue.waiting = 2  # type: ignore[attr-defined]
    assert bench.context() == 8
    for worker in old:
        bench.registry.drain(worker)
    assert bench.context() == 16
    for worker in old:
        bench.registry.leave(worker)
    bench.join("d", 16)
    assert len(bench.registry.entries()) == 1


def test_the_old_generation_serves_while_the_new_one_is_sick(bench: Bench) -> None:
    bench.join("a")
    new = bench.join("b", 16)
    new.unhealthy = "no answer"
    bench.registry.refresh(new)
    assert bench.context() == 8


def test_a_wished_adapter_or_worker_is_found_in_whatever_generation_has_it(bench: Bench) -> None:
    old, new = bench.join("a", service="embedding"), bench.join("b", 16, service="embedding")
    launcher = Launcher(
        SimpleNamespace(registry=bench.registry),
        None,
        None,
        None,
        None,
        jobs=None,
        weights=Weights(),
    )  # type: ignore[arg-type]

    def context(wished: str | None = None, **fields: Any) -> int:
        exchange: Any = SimpleNamespace(
            routing_headers={} if wished is None else {"backend_instance_id": wished}
        )
        return launcher.models.of(
            exchange, EmbeddingRequest(model="m", input="x", **fields)
        ).served.card.context_length

    assert [context(), context("a"), context("b")] == [16, 8, 16]
    bench.registry.set_adapters(old, ["poet", "clerk"])
    bench.registry.set_adapters(new, ["clerk"])
    assert [context(lora_path=name) for name in ("poet", "clerk", "nobody")] == [8, 16, 16]
    # no worker can do more than one of the two
    assert [context("b", lora_path=name) for name in ("poet", "clerk")] == [8, 16]
    assert context("a", lora_path="clerk") == 8


def test_there_is_a_bound_on_generations_and_one_service_for_all(bench: Bench) -> None:
    for number in range(GENERATIONS_MAX + 1):
        bench.join(f"w{number}", 8 + number)
    assert [entry.served.card.context_length for entry in bench.registry.entries()] == [
        8 + number for number in range(GENERATIONS_MAX)
    ]
    assert "embedding" in (bench.registry.conflict(bench.join("e", service="embedding")) or "")


def test_a_name_is_free_again_when_the_model_whose_alias_it_was_is_gone(bench: Bench) -> None:
    first = bench.join("a", 1, "one", aliases=["chat", "spare"])
    assert bench.context("chat") == 1
    bench.registry.leave(first)
    assert bench.context("chat") == 1  # known, and nobody serves it: come back later
    bench.join("b", 2, "two", aliases=["chat"])
    assert bench.context("chat") == 2
    bench.join("c", 3, "spare")
    assert (bench.context("spare"), bench.context("one")) == (3, 1)


def test_nobody_squats_on_a_name_by_way_of_an_alias(bench: Bench) -> None:
    bench.join("a", 1, "squatter", aliases=["honest"])
    bench.join("b", 2, "honest", aliases=["squatter"])
    assert (bench.context("honest"), bench.context("squatter")) == (2, 1)
