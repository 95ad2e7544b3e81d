"""In the frontend's loops too, what raises on account of one request or worker is the end of that
one alone.
"""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from frontend.fleet.booking import Booking
from frontend.fleet.registry import Registry
from frontend.fleet.stream import RequestStream, Wakeup
from frontend.fleet.worker import Worker
from frontend.mesh.dispatch import Dispatch
from frontend.mesh.membership import Membership
from frontend.mesh.queries import Queries
from frontend.mesh.wire import MeshWire
from kv_events.index import BlockBudget
from protocol.codec import encode
from protocol.errors import InternalFault
from protocol.generation import Finished
from protocol.membership import Capacity, Hello, ModelCard
from protocol.numbering import Numbering
from protocol.replies import Delta, Failed, StepBatch
from protocol.tokens import pack_tokens

WELL, SICK = "1" * 32, "2" * 32
TOKEN = pack_tokens([7])


def boom(*_: Any, **__: Any) -> Any:
    raise RuntimeError("injected")


class Bench:
    """A mesh with one worker, on which two requests run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[bytes, bytes]] = []
        metrics: Any = SimpleNamespace(count_finished=lambda *_: None)
        self.registry = Registry(boom)
        wire = MeshWire(self._open, lambda: None)
        dispatch = Dispatch(
            self.registry,
            wire,
            boom,  # type: ignore[arg-type]
            metrics,
            lambda: 0.0,
            chance=lambda _: 0,
            disagg_min_prompt=0,
        )
        self.mesh = Membership(
            self.registry,
            wire,
            dispatch,
            Queries(self.registry, wire.send, lambda: 0.0),
            frontend_id="f",
            prepare=boom,
            subscriber=None,
            budget=BlockBudget(100),
            losses=boom,  # type: ignore[arg-type]
            unix_s=lambda: 0.0,
        )
        self.metrics = metrics
        self.patch = monkeypatch
        self.workers = [self._join(name) for name in ("a", "b")]
        self.worker = self.workers[0]
        wakeup = Wakeup(asyncio.get_running_loop())
        self.streams = {}
        for request_id in (SICK, WELL):
            placement: Any = SimpleNamespace(rank=self.worker.ranks[0], cached_tokens=0)
            stream = self.streams[request_id] = RequestStream(request_id, wakeup, placement)
            self.worker.book(stream, self.worker.ranks[0], 1)
            dispatch._placed[request_id] = self.worker
        self._numbering = Numbering(1, sent=1)

    def _open(self, receive: Any, _: Any) -> Any:
        self.receive = receive
        return SimpleNamespace(send=self._send, close=lambda: None)

    def _send(self, frames: list[bytes]) -> bool:
        self.sent.append((frames[0], frames[-1]))
        return True

    def _join(self, name: str) -> Worker:
        card = ModelCard(name="m", context_length=8, vocab_size=100, eos_token_ids=[0], files=[])
        capacity = Capacity(dp_size=1, kv_tokens=1_000, page_size_tokens=10, requests_running_max=4)
        hello = Hello(name, 1, "text", "dyn://n.c.e", card, capacity, 4)
        worker = Worker(
            name.encode(), hello, self._now(), BlockBudget(100), Numbering(1, received=1)
        )
        self.registry.connect(worker)
        return worker

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def step(self, *deltas: Delta) -> None:
        self.receive([b"a", *encode(StepBatch(list(deltas)), self._numbering.head())])
        self._numbering.note_sent()

    @property
    def aborts(self) -> list[bytes]:
        return [packed for _, packed in self.sent if b"abort" in packed]


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    bench = Bench(monkeypatch)
    yield bench
    bench.mesh._beat.cancel()


def _sick_only(original: Any) -> Any:
    return lambda self, *rest: boom() if self.request_id == SICK else original(self, *rest)


async def test_a_delta_that_cannot_be_taken_ends_its_request_alone(bench: Bench) -> None:
    bench.patch.setattr(RequestStream, "push", _sick_only(RequestStream.push))
    bench.step(Delta(SICK, 0, TOKEN), Delta(WELL, 0, TOKEN))
    assert isinstance(bench.streams[SICK].error, InternalFault)
    assert bench.streams[WELL].take() == TOKEN
    assert list(bench.worker.bookings) == [WELL]
    assert len(bench.aborts) == 1
    bench.step(Delta(WELL, 1, TOKEN))  # and the session goes on
    assert bench.streams[WELL].take() == TOKEN


async def test_a_booking_or_a_count_that_raises_costs_no_neighbour(bench: Bench) -> None:
    noted = Booking.note_token
    bench.patch.setattr(
        Booking,
        "note_token",
        lambda self: boom() if self.stream.request_id == SICK else noted(self),
    )
    bench.step(Delta(SICK, 0, TOKEN), Delta(WELL, 0, TOKEN))
    assert bench.streams[SICK].error is not None
    bench.metrics.count_finished = boom
    bench.step(Delta(WELL, 1, TOKEN, Finished("stop", 1, 2)))
    assert bench.streams[WELL].finished is not None
    assert not bench.worker.bookings


async def test_a_delta_that_is_none_costs_neither_its_neighbour_nor_the_worker(
    bench: Bench,
) -> None:
    bench.step(Delta(SICK, 0, b"", Failed("x", "y" * 3_000)), Delta(WELL, 0, TOKEN))
    assert bench.streams[SICK].error is not None
    assert bench.streams[WELL].take() == TOKEN
    bench.step(Delta(WELL, 1, TOKEN))
    assert bench.streams[WELL].error is None
    assert b"a" in bench.registry.workers


async def test_a_worker_that_cannot_be_beaten_to_leaves_the_others_their_heartbeats(
    bench: Bench,
) -> None:
    bench.workers[0].on_time = boom  # type: ignore[method-assign]
    bench.mesh._on_beat()
    assert [identity for identity, packed in bench.sent if b"frontend_heartbeat" in packed] == [
        b"a",
        b"b",
    ]
