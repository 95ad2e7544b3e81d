"""Which model and adapter a name stands for, as workers and their adapters come and go."""

from types import SimpleNamespace
from typing import cast

import pytest

from frontend.fleet.registry import Registry
from frontend.fleet.worker import Phase, Worker
from frontend.models.served import ServedModel
from frontend.routing.admission import AdmissionQueue
from kv_events.index import BlockBudget
from protocol.membership import Capacity, Hello, ModelCard


@pytest.fixture
def registry() -> Registry:
    return Registry(lambda: cast("AdmissionQueue", SimpleNamespace(room=lambda: None)))


def join(registry: Registry, worker_id: str, model: str, *adapters: str) -> Worker:
    card = ModelCard(
        name=model,
        context_length=8,
        vocab_size=100,
        eos_token_ids=[0],
        files=[],
        aliases=[f"{model}-alias"],
    )
    capacity = Capacity(dp_size=1, kv_tokens=1_000, page_size_tokens=10, requests_running_max=1)
    hello = Hello(worker_id, 1, "text", "dyn://n.c.e", card, capacity, 1, adapters=list(adapters))
    worker = Worker(worker_id.encode(), hello, 0.0, BlockBudget(100))
    registry.connect(worker)
    worker.phase = Phase.READY
    registry.serve(worker, ServedModel(card, None, {}))  # type: ignore[arg-type]
    return worker


def found(registry: Registry, name: str) -> tuple[str, str | None] | None:
    entry, adapter = registry.find(name)
    return None if entry is None else (entry.served.card.name, adapter)


def test_a_name_is_a_model_then_an_alias_then_an_adapter_then_both(registry: Registry) -> None:
    join(registry, "1", "one", "poet", "two", "a:b")
    join(registry, "2", "two", "poet")
    assert found(registry, "two") == ("two", None)
    assert found(registry, "one-alias") == ("one", None)
    assert found(registry, "poet") == ("one", "poet")
    assert found(registry, "two:poet") == ("two", "poet")
    assert found(registry, "one-alias:two") == ("one", "two")
    assert found(registry, "one:a:b") == ("one", "a:b")
    assert [
        found(registry, name) for name in ("nobody", "one:nobody", ":poet", "nobody:poet", ":")
    ] == [None] * 5


def test_an_adapter_is_there_as_long_as_some_worker_has_it(registry: Registry) -> None:
    first, second = join(registry, "1", "one", "poet"), join(registry, "2", "one")
    registry.set_adapters(second, ["poet", "clerk"])
    registry.set_adapters(first, [])
    assert found(registry, "poet") == ("one", "poet")
    registry.set_adapters(second, ["clerk"])
    assert found(registry, "poet") is None
    registry.leave(first)
    registry.leave(second)
    # known, and nobody serves it: come back later
    assert found(registry, "clerk") == ("one", "clerk")
    join(registry, "3", "one")
    assert found(registry, "clerk") is None
