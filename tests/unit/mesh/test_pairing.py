"""A request in two legs: who gets them, what they are told, and that they end together."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.fleet.model_entry import DECODE, PREFILL, WHOLE
from frontend.fleet.rank import STEPS_AHEAD
from frontend.mesh.pairing import ROOM_BITS, room_of
from protocol.errors import EngineFault, InvalidRequest, NoWorker, Overloaded, WorkerLost
from protocol.generation import Extras, Finished, Logprobs, LogprobsWanted, Sampling
from protocol.replies import Failed
from tests.unit.mesh.dispatch_bench import CAPACITY, SERVER, Bench


@pytest.fixture
async def bench() -> Bench:
    return Bench()


@given(
    st.integers(0, (1 << ROOM_BITS) - 1),
    st.integers(1, 1_024).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))),
)
def test_a_room_tells_the_rank_and_is_never_none(chance: int, rank: tuple[int, int]) -> None:
    dp_rank, dp_size = rank
    room = room_of(chance, dp_rank, dp_size)
    assert 0 < room < 1 << 63
    assert room % dp_size == dp_rank


async def test_both_legs_are_sent_at_once_and_meet_at_the_prefill_worker(bench: Bench) -> None:
    bench.join("p", PREFILL)
    bench.join("d", DECODE)
    stream = await bench.place()
    (first, computing), (second, going_on) = bench.sent
    assert (first, second) == ("p", "d")
    assert computing.request_id == going_on.request_id == stream.request_id
    assert computing.bootstrap == going_on.bootstrap
    assert (going_on.bootstrap.host, going_on.bootstrap.port) == (SERVER.host, SERVER.port)
    assert going_on.bootstrap.room > 0
    assert (computing.sampling.max_new_tokens, computing.sampling.min_new_tokens) == (1, 1)
    assert going_on.sampling == Sampling(9, min_new_tokens=3)
    assert (stream.worker_id, stream.prefill_placement.rank.worker_id) == ("d", "p")


async def test_the_answer_is_what_the_decode_leg_gives(bench: Bench) -> None:
    prefill, decode = bench.join("p", PREFILL), bench.join("d", DECODE)
    stream = await bench.place(tokens=40)
    [rank], [other] = prefill.ranks, decode.ranks
    assert (rank.prefill_tokens, rank.kv_tokens) == (40, 40)
    assert (other.prefill_tokens, other.kv_tokens) == (0, 40)
    bench.give(prefill, stream.request_id, 1, Finished("length", 40, 1))
    assert (stream.tokens_received, stream.ended) == (0, False)
    assert (rank.requests, rank.kv_tokens, other.requests) == (0, 0, 1)
    bench.give(decode, stream.request_id, 2)
    bench.give(decode, stream.request_id, 7, Finished("length", 40, 9))
    assert (stream.tokens_received, stream.finished is not None) == (9, True)
    assert (other.requests, other.kv_tokens, bench.aborted()) == (0, 0, [])


async def test_an_abort_reaches_both_legs(bench: Bench) -> None:
    prefill, decode = bench.join("p", PREFILL), bench.join("d", DECODE)
    stream = await bench.place()
    bench.dispatch.abort(stream)
    assert sorted(bench.aborted()) == ["d", "p"]
    assert prefill.bookings == decode.bookings == {}


async def test_an_abort_behind_the_hand_over_reaches_who_still_runs(bench: Bench) -> None:
    prefill, _ = bench.join("p", PREFILL), bench.join("d", DECODE)
    stream = await bench.place()
    bench.give(prefill, stream.request_id, 1, Finished("length", 8, 1))
    bench.dispatch.abort(stream)
    assert bench.aborted() == ["d"]


@pytest.mark.parametrize("end", ["answered", "aborted", "prefill lost", "decode lost", "half sent"])
async def test_two_legs_begin_and_end_one_request(bench: Bench, end: str) -> None:
    prefill, decode = bench.join("p", PREFILL), bench.join("d", DECODE)
    told: list[str] = []
    queue: Any = bench.entry.queue
    queue.note_sent = lambda: told.append("sent")
    queue.note_end = lambda *_: told.append("end")
    bench.full = {"d"} if end == "half sent" else set()
    stream = await bench.place()
    if end == "answered":
        bench.give(prefill, stream.request_id, 1, Finished("length", 8, 1))
        bench.give(decode, stream.request_id, 9, Finished("length", 8, 9))
    elif end == "aborted":
        bench.dispatch.abort(stream)
    elif end != "half sent":
        bench.dispatch.fail_all(prefill if end == "prefill lost" else decode, "died")
    assert told == ["sent", "end"]


@pytest.mark.parametrize("how", ["lost", "failed"])
async def test_a_prefill_leg_that_fails_ends_the_other(bench: Bench, how: str) -> None:
    prefill, decode = bench.join("p", PREFILL), bench.join("d", DECODE)
    stream = await bench.place()
    if how == "lost":
        bench.dispatch.fail_all(prefill, "died")
        assert isinstance(stream.error, WorkerLost)
    else:
        bench.give(prefill, stream.request_id, 0, Failed("overloaded", "full"))
        assert isinstance(stream.error, Overloaded)
    assert (stream.lost_on, "d" in bench.aborted(), decode.bookings) == ("p", True, {})


async def test_a_prefill_worker_that_dies_behind_the_hand_over_is_not_missed(bench: Bench) -> None:
    prefill, decode = bench.join("p", PREFILL), bench.join("d", DECODE)
    stream = await bench.place()
    bench.give(prefill, stream.request_id, 1, Finished("length", 8, 1))
    bench.dispatch.fail_all(prefill, "died")
    assert (stream.ended, list(decode.bookings)) == (False, [stream.request_id])


async def test_a_decode_worker_that_is_lost_frees_the_prefill_leg(bench: Bench) -> None:
    prefill, decode = bench.join("p", PREFILL), bench.join("d", DECODE)
    stream = await bench.place()
    bench.dispatch.fail_all(decode, "died")
    assert (stream.lost_on, prefill.bookings, "p" in bench.aborted()) == ("d", {}, True)


async def test_a_leg_that_cannot_be_sent_has_the_request_go_on_elsewhere(bench: Bench) -> None:
    prefill, _ = bench.join("p", PREFILL), bench.join("d", DECODE)
    bench.full = {"d"}
    stream = await bench.place()
    assert isinstance(stream.error, Overloaded)
    assert (stream.lost_on, prefill.bookings) == ("d", {})


async def test_the_scores_of_a_prompt_go_before_the_answer(bench: Bench) -> None:
    prefill, decode = bench.join("p", PREFILL), bench.join("d", DECODE)
    wanted = LogprobsWanted(of_prompt=True)
    stream = await bench.place(logprobs=wanted)
    assert [sent.logprobs for _, sent in bench.sent] == [wanted, LogprobsWanted()]
    bench.give(decode, stream.request_id, 9, Finished("length", 8, 9))
    assert (stream.tokens_received, stream.ended) == (0, False)
    scores = Logprobs(b"1234" * 8)
    bench.give(prefill, stream.request_id, 1, Finished("length", 8, 1), Extras([], None, scores))
    assert (stream.tokens_received, stream.ended) == (9, True)
    assert [extras.prompt_logprobs for extras in stream.take_extras()] == [scores]
    assert decode.bookings == {}


async def test_no_more_is_held_back_than_was_asked_for(bench: Bench) -> None:
    bench.join("p", PREFILL)
    decode = bench.join("d", DECODE)
    stream = await bench.place(logprobs=LogprobsWanted(of_prompt=True))
    for _ in range(11):
        bench.give(decode, stream.request_id, 1)
    assert isinstance(stream.error, EngineFault)
    assert (decode.bookings, sorted(bench.aborted())) == ({}, ["d", "p"])


async def test_a_prompt_follows_its_cache_to_the_prefill_rank_and_load_to_the_decode_rank(
    bench: Bench,
) -> None:
    prefills = {name: bench.join(name, PREFILL) for name in ("p1", "p2")}
    for name in ("d1", "d2"):
        bench.join(name, DECODE)
    first = await bench.place(tokens=6_400)
    computed_by = first.prefill_placement.rank.worker_id
    bench.give(prefills[computed_by], first.request_id, 1, Finished("length", 6_400, 1))
    second = await bench.place(tokens=6_400)
    assert second.prefill_placement.rank.worker_id == computed_by
    assert {first.worker_id, second.worker_id} == {"d1", "d2"}
    assert (second.prefill_placement.cached_tokens, second.placement.cached_tokens) == (6_400, 0)


async def test_pins_name_either_leg(bench: Bench) -> None:
    for name, stage in (("p1", PREFILL), ("p2", PREFILL), ("d1", DECODE), ("d2", DECODE)):
        bench.join(name, stage)
    bench.join("w", WHOLE)
    stream = await bench.place(worker_id="d2", prefill_worker_id="p2")
    assert (stream.worker_id, stream.prefill_placement.rank.worker_id) == ("d2", "p2")
    whole = await bench.place(worker_id="w")
    assert (whole.worker_id, whole.prefill_placement) == ("w", whole.placement)
    with pytest.raises(InvalidRequest):
        await bench.place(worker_id="p1")
    with pytest.raises(InvalidRequest):
        await bench.place(prefill_worker_id="w")


@pytest.mark.parametrize("pins", [{"worker_id": "d"}, {"prefill_worker_id": "p"}])
async def test_who_insists_on_one_leg_waits_for_a_worker_of_the_other(
    bench: Bench, pins: dict[str, str]
) -> None:
    prefill = bench.join("p", PREFILL)
    bench.join("d", DECODE)
    bench.registry.leave(prefill)
    bench.registry.missed.note(prefill, "silent", 0.0)
    with pytest.raises(NoWorker):
        await bench.place(prefill_worker_id="q")
    waiting = asyncio.ensure_future(bench.place(**pins))
    await asyncio.sleep(0)
    assert len(bench.entry.queue) == 1
    bench.join("p", PREFILL)
    assert (await waiting).worker_id == "d"


async def test_short_prompts_run_whole_where_somebody_runs_them() -> None:
    bench = Bench(min_prompt=1_000)
    bench.join("p", PREFILL)
    bench.join("d", DECODE)
    assert (await bench.place(tokens=10)).prefill_placement.rank.worker_id == "p"
    bench.join("w", WHOLE)
    assert (await bench.place(tokens=999)).worker_id == "w"
    assert (await bench.place(tokens=5_000)).worker_id == "d"
    assert (await bench.place(tokens=5_000, worker_id="w")).worker_id == "w"
    assert (await bench.place(tokens=5_000)).worker_id == "w"  # most of it is cached there now


async def test_what_one_way_has_no_room_for_takes_the_other() -> None:
    bench = Bench(min_prompt=1_000)
    for name, stage in (("p", PREFILL), ("d", DECODE), ("w", WHOLE)):
        bench.join(name, stage)
    ways = [(await bench.place(tokens=10)).worker_id for _ in range(8)]
    assert (ways.count("w"), ways.count("d")) == (4, 4)


async def test_legs_wait_here_until_the_decode_rank_has_a_place(bench: Bench) -> None:
    # where it may take a while, one leg would give the other up
    prefill, decode = bench.join("p", PREFILL, credit=64), bench.join("d", DECODE, credit=64)
    first, *_ = [await bench.place() for _ in range(CAPACITY.requests_running_max)]
    fifth = asyncio.ensure_future(bench.place())
    bench.give(prefill, first.request_id, 1, Finished("length", 8, 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (fifth.done(), len(bench.entry.queue), len(decode.bookings)) == (False, 1, 4)
    bench.give(decode, first.request_id, 9, Finished("length", 8, 9))
    assert (await fifth).worker_id == "d"


async def test_legs_wait_here_while_the_prefill_rank_has_enough_to_compute(bench: Bench) -> None:
    prefill, _ = bench.join("p", PREFILL, credit=64), bench.join("d", DECODE, credit=64)
    first = await bench.place(tokens=STEPS_AHEAD * CAPACITY.prefill_step_tokens)
    second = asyncio.ensure_future(bench.place())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not second.done()
    bench.give(prefill, first.request_id, 1, Finished("length", 8, 1))
    assert (await second).prefill_placement.rank.worker_id == "p"


async def test_a_model_lacks_the_leg_that_nobody_runs(bench: Bench) -> None:
    prefill = bench.join("p", PREFILL)
    decode = bench.join("d", DECODE)
    await bench.place()
    bench.registry.drain(prefill)
    with pytest.raises(NoWorker, match="No prefill worker serves the model 'm'"):
        await bench.place()
    bench.registry.drain(decode)
    with pytest.raises(NoWorker, match="No worker serves the model 'm'"):
        await bench.place()
