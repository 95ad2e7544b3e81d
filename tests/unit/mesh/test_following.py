"""Requests that are kept back until another one has computed what they share, as a worker sees
them.
"""

import asyncio

import pytest

from frontend.fleet.encoders import ENCODE
from frontend.fleet.stream import RequestStream
from frontend.mesh import following
from protocol.encoding import Encoded
from protocol.errors import Overloaded, WorkerLost
from protocol.generation import Finished
from protocol.media import PromptMedia
from protocol.membership import Capacity
from protocol.replies import Delta, StepBatch
from tests.unit.mesh.dispatch_bench import Bench

SHARED = 1_024
CAPACITY = Capacity(
    dp_size=1,
    kv_tokens=100_000,
    page_size_tokens=16,
    requests_running_max=8,
    block_size_tokens=64,
)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def family(bench: Bench, size: int) -> list[RequestStream]:
    """So many requests of one prompt, named in order."""
    return [await bench.place(tokens=SHARED, request_id=f"r{number}") for number in range(size)]


def sent(bench: Bench) -> list[str]:
    return [message.request_id for _, message in bench.sent]


async def test_the_first_one_is_sent_and_the_others_behind_its_first_token(bench: Bench) -> None:
    worker = bench.join("w", capacity=CAPACITY)
    await family(bench, 3)
    assert sent(bench) == ["r0"]
    [rank] = worker.ranks
    assert rank.requests == 3
    bench.give(worker, "r0", 1)
    assert sent(bench) == ["r0", "r1", "r2"]
    await bench.place(tokens=SHARED, request_id="late")
    assert sent(bench)[3:] == ["late"]


async def test_prompts_that_share_nothing_are_sent_at_once(bench: Bench) -> None:
    bench.join("w", capacity=CAPACITY)
    for number in range(3):
        await bench.place(tokens=SHARED, request_id=f"r{number}", cache_salt=str(number))
    assert sent(bench) == ["r0", "r1", "r2"]


async def test_nobody_waits_for_one_whose_first_token_is_told_with_its_last(bench: Bench) -> None:
    bench.join("w", capacity=CAPACITY)
    await bench.place(tokens=SHARED, request_id="whole", stream=False)
    await bench.place(tokens=SHARED, request_id="behind")
    assert sent(bench) == ["whole", "behind"]


async def test_who_wants_the_whole_answer_waits_for_one_that_streams(bench: Bench) -> None:
    worker = bench.join("w", capacity=CAPACITY)
    await bench.place(tokens=SHARED, request_id="first")
    await bench.place(tokens=SHARED, request_id="whole", stream=False)
    assert sent(bench) == ["first"]
    bench.give(worker, "first", 1)
    assert sent(bench) == ["first", "whole"]


@pytest.mark.parametrize("how", ["left", "ended at once", "ended without a token"])
async def test_nobody_waits_for_one_that_is_over(bench: Bench, how: str) -> None:
    worker = bench.join("w", capacity=CAPACITY)
    first, *_ = await family(bench, 3)
    if how == "left":
        bench.dispatch.abort(first)
    elif how == "ended at once":
        bench.give(worker, "r0", 1, Finished("length", SHARED, 7))
    else:
        bench.give(worker, "r0", 0, Finished("stop", SHARED, 0))
    assert [name for name in sent(bench) if name != "r0"] == ["r1", "r2"]


async def test_pictures_that_are_encoded_are_no_prompt_that_is_computed(bench: Bench) -> None:
    encoder = bench.join("e", ENCODE, encoder="x")
    worker = bench.join("w", encoder="x", fetches=True, capacity=CAPACITY)
    picture = PromptMedia("image", b"first", 1, at=1_000, tokens=2)
    await bench.place(tokens=SHARED, request_id="seeing", media=[picture])
    await bench.place(tokens=SHARED, request_id="behind")
    bench.sent.clear()
    encoded = Delta("seeing", 0, b"", Encoded(1, 1, 2_000, 64))
    bench.dispatch.take_step(encoder, StepBatch([encoded]))
    assert sent(bench) == []
    bench.give(worker, "seeing", 1)
    assert sent(bench) == ["behind"]


async def test_one_that_leaves_before_it_was_sent_never_is(bench: Bench) -> None:
    worker = bench.join("w", capacity=CAPACITY)
    _, second, _ = await family(bench, 3)
    bench.dispatch.abort(second)
    bench.sent.clear()
    bench.give(worker, "r0", 1)
    assert sent(bench) == ["r2"]
    assert list(worker.bookings) == ["r0", "r2"]


async def test_a_worker_is_lost_with_those_that_it_never_had(bench: Bench) -> None:
    worker = bench.join("w", capacity=CAPACITY)
    streams = await family(bench, 3)
    bench.dispatch.fail_all(worker, "died")
    errors = [stream.error for stream in streams]
    assert all(isinstance(error, WorkerLost) for error in errors)
    assert [error.bystander for error in errors if isinstance(error, WorkerLost)] == [
        False,
        True,
        True,
    ]
    assert sent(bench)[0] == "r0"
    assert not any(bench.dispatch.registry.workers[w.identity].bookings for w in [worker])


async def test_one_that_finds_no_room_when_it_may_go_goes_on_elsewhere(bench: Bench) -> None:
    worker = bench.join("w", capacity=CAPACITY)
    _, second = await family(bench, 2)
    bench.full = {"w"}
    bench.give(worker, "r0", 1)
    assert isinstance(second.error, Overloaded)
    assert list(worker.bookings) == ["r0"]


async def test_nobody_waits_longer_than_is_bound(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "HELD_S_MAX", 0.0)
    bench.join("w", capacity=CAPACITY)
    await family(bench, 2)
    assert sent(bench) == ["r0"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sent(bench) == ["r0", "r1"]


async def test_a_suspect_neither_waits_nor_is_waited_for(bench: Bench) -> None:
    bench.join("w", capacity=CAPACITY)
    await bench.place(tokens=SHARED, request_id="alone", alone=True)
    await bench.place(tokens=SHARED, request_id="r1")
    assert sent(bench) == ["alone", "r1"]
