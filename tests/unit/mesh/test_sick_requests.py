"""In the frontend's loops too, what raises on account of one request or worker is the end of that
one alone.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from frontend.fleet.booking import Booking
from frontend.fleet.stream import RequestStream
from protocol.errors import InternalFault
from protocol.generation import Finished
from protocol.replies import Delta, Failed
from protocol.tokens import pack_tokens
from tests.unit.mesh.mesh_bench import SICK, WELL, Mesh, boom

TOKEN = pack_tokens([7])


@pytest.fixture
async def bench() -> AsyncIterator[Mesh]:
    bench = Mesh()
    await bench.run()
    yield bench
    bench.mesh._beat.cancel()


def _sick_only(original: Any) -> Any:
    return lambda self, *rest: boom() if self.request_id == SICK else original(self, *rest)


async def test_a_delta_that_cannot_be_taken_ends_its_request_alone(
    bench: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RequestStream, "push", _sick_only(RequestStream.push))
    bench.step(Delta(SICK, 0, TOKEN), Delta(WELL, 0, TOKEN))
    assert isinstance(bench.streams[SICK].error, InternalFault)
    assert bench.streams[WELL].take() == TOKEN
    assert list(bench.worker.bookings) == [WELL]
    assert len(bench.aborts) == 1
    bench.step(Delta(WELL, 1, TOKEN))  # and the session goes on
    assert bench.streams[WELL].take() == TOKEN


async def test_a_booking_or_a_count_that_raises_costs_no_neighbour(
    bench: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = Booking.note_token
    monkeypatch.setattr(
        Booking,
        "note_token",
        lambda self: boom() if self.stream.request_id == SICK else noted(self),
    )
    bench.step(Delta(SICK, 0, TOKEN), Delta(WELL, 0, TOKEN))
    assert bench.streams[SICK].error is not None
    bench.metrics.count_finished = boom  # type: ignore[method-assign]
    bench.step(Delta(WELL, 1, TOKEN, Finished("stop", 1, 2)))
    assert bench.streams[WELL].finished is not None
    assert not bench.worker.bookings


async def test_a_delta_that_is_none_costs_neither_its_neighbour_nor_the_worker(
    bench: Mesh,
) -> None:
    bench.step(Delta(SICK, 0, b"", Failed("x", "y" * 3_000)), Delta(WELL, 0, TOKEN))
    assert bench.streams[SICK].error is not None
    assert bench.streams[WELL].take() == TOKEN
    bench.step(Delta(WELL, 1, TOKEN))
    assert bench.streams[WELL].error is None
    assert b"a" in bench.registry.workers


async def test_a_worker_that_cannot_be_beaten_to_leaves_the_others_their_heartbeats(
    bench: Mesh,
) -> None:
    bench.worker.on_time = boom  # type: ignore[method-assign]
    bench.mesh._on_beat()
    assert [identity for identity, packed in bench.frames if b"frontend_heartbeat" in packed] == [
        b"a",
        b"b",
    ]
