"""Who may be a worker: one of each name, once, however many connections it says Hello on."""

from types import SimpleNamespace
from typing import cast

import pytest

from frontend.fleet.registry import Registry
from frontend.fleet.worker import OTHER_WAYS_MAX, Worker
from frontend.mesh import introductions
from frontend.mesh.introductions import replaced_as, turned_away
from frontend.routing.admission import AdmissionQueue
from kv_events.index import BlockBudget
from protocol.limits import WORKER_SILENT_S_MAX
from protocol.membership import Capacity, Hello, ModelCard
from protocol.requests import AnotherWay, Refused


def hello(worker_id: str = "w", epoch: int = 1, way: int = 1) -> Hello:
    card = ModelCard(name="m", context_length=8, vocab_size=100, eos_token_ids=[0], files=[])
    capacity = Capacity(dp_size=1, kv_tokens=1_000, page_size_tokens=10, requests_running_max=1)
    return Hello(worker_id, epoch, "text", "dyn://n.c.e", card, capacity, 1, way=way)


@pytest.fixture
def registry() -> Registry:
    """With the worker "w", connected on its way 1."""
    registry = Registry(lambda: cast("AdmissionQueue", SimpleNamespace(room=lambda: None)))
    registry.connect(Worker(b"1", hello(), 0.0, BlockBudget(100)))
    return registry


def answer(registry: Registry, said: Hello, now: float = 0.0, identity: bytes = b"2") -> object:
    return turned_away(registry, identity, said, now)


def test_another_way_is_kept_for_when_the_first_one_ends(registry: Registry) -> None:
    assert answer(registry, hello(way=2)) == AnotherWay()
    assert registry.workers[b"1"].other_ways == [b"2"]
    assert answer(registry, hello(way=2), now=WORKER_SILENT_S_MAX + 0.1) is None


def test_the_first_way_is_taken_in_again_at_once_when_it_reconnects(registry: Registry) -> None:
    assert answer(registry, hello(way=1)) is None
    # it does not say: as ever, the newest connection counts
    assert answer(registry, hello(way=0)) is None


@pytest.mark.parametrize(
    ("newer", "cause"),
    [
        (hello(way=1), "restarted"),
        (hello(way=0), "restarted"),
        (hello(way=2), "silent"),
        (hello(epoch=2, way=2), "died"),
    ],
)
def test_whose_place_is_taken_was_lost_for_the_reason_that_let_the_newer_in(
    newer: Hello, cause: str
) -> None:
    assert replaced_as(hello(way=1), newer) == cause


def test_another_process_of_the_name_waits_until_the_first_is_silent(registry: Registry) -> None:
    assert isinstance(answer(registry, hello(epoch=2)), Refused)
    assert answer(registry, hello(epoch=2), now=WORKER_SILENT_S_MAX + 0.1) is None


def test_there_is_a_bound_on_workers_and_on_ways(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2, 100):
        for _ in range(2):
            answer(registry, hello(way=number), identity=bytes([number]))
    assert registry.workers[b"1"].other_ways == [
        bytes([number]) for number in range(100 - OTHER_WAYS_MAX, 100)
    ]
    monkeypatch.setattr(introductions, "WORKERS_MAX", 1)
    assert isinstance(answer(registry, hello("another")), Refused)
