"""Requests with pictures wait for workers that encode, as long as that is not too long."""

import asyncio

import pytest

from frontend.fleet.model_entry import WHOLE
from frontend.fleet.worker import Phase
from frontend.mesh import encoder_room
from tests.unit.mesh.test_encode_leg import LARGE, MADE, PICTURES, Seeing


@pytest.fixture
async def bench() -> Seeing:
    return Seeing()


async def test_pictures_wait_for_an_encoder_without_credit_and_texts_pass_them(
    bench: Seeing,
) -> None:
    for _ in range(bench.encoder.hello.credit_requests):
        await bench.see()
    waiting = [asyncio.ensure_future(bench.see(request_id=f"{at}" * 32)) for at in range(2)]
    await asyncio.sleep(0)
    await bench.place(request_id="t" * 32)
    assert not any(each.done() for each in waiting)
    bench.end(bench.encoder, next(iter(bench.encoder.bookings)), MADE)
    assert (await waiting[0]).fetches_from == "e"
    assert not waiting[1].done()
    waiting[1].cancel()
    await asyncio.gather(waiting[1], return_exceptions=True)
    assert not bench.dispatch._encoder_room._waiting


@pytest.mark.parametrize("leaves", [True, False])
async def test_who_waits_for_encoders_sees_for_itself_when_none_is_left(
    bench: Seeing, leaves: bool
) -> None:
    for _ in range(bench.encoder.hello.credit_requests):
        await bench.see()
    waiting = asyncio.ensure_future(bench.see(request_id="f" * 32))
    await asyncio.sleep(0)
    if leaves:
        bench.encoder.phase = Phase.DRAINING
    else:
        bench.encoder.unhealthy = "it hangs"
    bench.dispatch.let_hopes_try()  # with the next beat
    assert (await waiting).fetches_from == ""
    assert bench.sent[-1][1].media == PICTURES


async def test_pictures_that_would_wait_too_long_are_seen_at_once(
    bench: Seeing, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await bench.see()
    bench.end(bench.encoder, first.request_id, MADE)  # from here on its pace is known
    for _ in range(bench.encoder.hello.credit_requests):
        assert (await bench.see()).fetches_from == "e"
    monkeypatch.setattr(encoder_room, "WAIT_S_MAX", 0.0)
    assert (await bench.see()).fetches_from == ""


async def test_nobody_waits_where_another_worker_sees_for_itself(bench: Seeing) -> None:
    for _ in range(bench.encoder.hello.credit_requests):
        await bench.see()
    bench.join("w2", WHOLE, encoder="x", credit=64, capacity=LARGE)
    assert (await bench.see()).fetches_from == ""
