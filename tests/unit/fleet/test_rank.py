"""The load of a rank: our own requests exactly, and of the others what the engine's report has
beyond ours.
"""

import asyncio
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.fleet.booking import Booking
from frontend.fleet.rank import SLACK_BLOCKS, SLACK_RATIO, STEPS_AHEAD, Rank
from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Wakeup
from frontend.fleet.worker import Worker
from frontend.routing.route import Placement
from kv_events.index import BlockBudget
from protocol.membership import Capacity, Heartbeat, Hello, ModelCard, RankLoad, RelayCounts

CARD = ModelCard(name="m", context_length=8, vocab_size=100, eos_token_ids=[0], files=[])
CAPACITY = Capacity(dp_size=2, page_size_tokens=16, kv_tokens=10_000, requests_running_max=8)


def hello(capacity: Capacity = CAPACITY, **fields: Any) -> Hello:
    return Hello(
        worker_id="w",
        epoch=1,
        service="text",
        endpoint="dyn://a.b.c",
        card=CARD,
        capacity=capacity,
        credit_requests=4,
        **fields,
    )


def rank(dp_rank: int = 0) -> Rank:
    return Rank(hello(), dp_rank, BlockBudget(1_000_000))


def load(of: Rank) -> tuple[int, int, int]:
    return of.requests, of.prefill_tokens, of.kv_tokens


def stream_on(chosen: Rank, request_id: str = "r") -> RequestStream:
    loop = asyncio.new_event_loop()
    loop.close()  # nobody waits for it
    return RequestStream(request_id, Wakeup(loop), Placement(chosen))


def test_a_booking_counts_from_sending_to_its_end() -> None:
    busy = rank()
    booking = Booking(stream_on(busy), busy, 100)
    assert load(busy) == (1, 100, 100)
    booking.note_token()
    booking.note_token()  # only the first one ends the prefill
    assert load(busy) == (1, 0, 100)
    booking.release()
    assert load(busy) == (0, 0, 0)


def test_a_request_that_ends_before_its_first_token_leaves_nothing() -> None:
    busy = rank()
    Booking(stream_on(busy), busy, 100).release()
    assert load(busy) == (0, 0, 0)


def test_others_load_is_their_share_of_a_report() -> None:
    busy = rank()
    ours = Booking(stream_on(busy), busy, 100)
    busy.report(RankLoad(0, 3, 2, 700, 250), others_share=0.8)
    assert load(busy) == (5, 300, 700)
    later = Booking(stream_on(busy), busy, 30)
    assert (*load(busy), busy.waiting) == (6, 330, 730, 4)
    for booking in (ours, later):
        booking.release()
    assert (*load(busy), busy.waiting) == (4, 200, 600, 2)


def test_a_report_that_is_older_than_our_tokens_makes_no_strangers_of_our_requests() -> None:
    busy = rank()
    bookings = [Booking(stream_on(busy), busy, 100) for _ in range(3)]
    for booking in bookings:
        booking.release()
    busy.report(RankLoad(0, 2, 1, 300, 100))  # as the engine was a moment ago
    assert load(busy) == (0, 0, 300)


def test_a_report_that_does_not_know_ours_yet_takes_nothing_away() -> None:
    busy = rank()
    Booking(stream_on(busy), busy, 100)
    busy.report(RankLoad(0, 0, 0, 0))
    assert load(busy) == (1, 100, 100)


def test_a_rank_has_room_for_the_blocks_that_it_advertised_and_some_more() -> None:
    capacity = msgspec.structs.replace(
        CAPACITY, kv_tokens=6_401, slow_kv_tokens=640, block_size_tokens=64
    )
    blocks = 111  # of 64 tokens, the last one begun
    assert (
        Rank(hello(capacity), 0, BlockBudget(10)).blocks.blocks_max
        == blocks + blocks // SLACK_RATIO + SLACK_BLOCKS
    )


def test_a_rank_goes_by_its_workers_name_and_its_number() -> None:
    assert (rank(1).key, rank(1).tells_events, rank(1).placed_at) == (("w", 1), False, 0)


def worker(**fields: Any) -> Worker:
    return Worker(b"i", hello(**fields), now=0.0, budget=BlockBudget(1_000))


def test_a_heartbeat_is_told_to_each_rank_and_ranks_that_are_not_there_are_ignored() -> None:
    busy = worker()
    loads = [RankLoad(1, 4, 0, 40, kv_number=7), RankLoad(2, 9, 9, 9), RankLoad(-1, 8, 8, 8)]
    busy.report(Heartbeat("w", 1, loads, RelayCounts(gaps=3), others_share=1.0), now=1.0)
    assert [load(one) for one in busy.ranks] == [(0, 0, 0), (4, 0, 40)]
    busy.report(Heartbeat("w", 1, []), now=2.0)
    assert (busy.relay.gaps, load(busy.ranks[1])) == (3, (4, 0, 40))


def test_a_worker_has_room_until_so_many_requests_run_and_each_is_released_once() -> None:
    busy = worker()
    for number in range(4):
        assert busy.has_room(alone=False)
        busy.book(stream_on(busy.ranks[0], f"r{number}"), busy.ranks[number % 2], 10)
    assert not busy.has_room(alone=False)
    released = busy.release("r1")
    assert released is not None
    assert (released.request_id, busy.release("r1"), busy.has_room(alone=False)) == (
        "r1",
        None,
        True,
    )
    assert [one.own_requests for one in busy.ranks] == [2, 1]


TOKENS = st.integers(0, 1_000)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("book"), TOKENS),
        st.tuples(st.just("token"), TOKENS),
        st.tuples(st.just("release"), TOKENS),
        st.tuples(
            st.just("report"),
            st.tuples(*[st.integers(0, 3_000)] * 4, st.sampled_from([0.0, 0.25, 0.5, 1.0])),
        ),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(OPERATIONS)
def test_any_interleaving_keeps_our_own_counts_exact_and_leaves_the_others_load(
    operations: list[tuple[str, Any]],
) -> None:
    busy = rank()
    stream = stream_on(busy)
    open_bookings: list[tuple[Booking, int, list[bool]]] = []
    others = (0, 0, 0)

    def own() -> tuple[int, int, int]:
        return (
            len(open_bookings),
            sum(tokens for _, tokens, prefilled in open_bookings if not prefilled),
            sum(tokens for _, tokens, _ in open_bookings),
        )

    for kind, value in operations:
        if kind == "book":
            open_bookings.append((Booking(stream, busy, value), value, []))
        elif kind == "report":
            running, waiting, kv_tokens, waiting_tokens, share = value
            busy.report(RankLoad(0, running, waiting, kv_tokens, waiting_tokens), share)
            others = (
                round((running + waiting) * share),
                round(waiting_tokens * share),
                max(0, kv_tokens - own()[2]),
            )
        elif open_bookings and kind == "token":
            booking, _, prefilled = open_bookings[value % len(open_bookings)]
            booking.note_token()
            prefilled.append(True)
        elif open_bookings:
            open_bookings.pop(value % len(open_bookings))[0].release()
        assert busy.own_requests == len(open_bookings)
        assert load(busy) == tuple(
            ours + theirs for ours, theirs in zip(own(), others, strict=True)
        )
        assert min(load(busy)) >= 0
    while open_bookings:
        open_bookings.pop()[0].release()
    assert load(busy) == others


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from(["book", "release", "both report"])),
        max_size=40,
    )
)
def test_two_frontends_see_the_same_load_after_each_report(steps: list[tuple[int, str]]) -> None:
    """The engine reports what both sent; each finds the other's part in it."""
    views = [rank(), rank()]
    running: list[list[Booking]] = [[], []]
    for who, step in steps:
        if step == "book":
            running[who].append(Booking(stream_on(views[who]), views[who], 10))
        elif step == "release" and running[who]:
            running[who].pop().release()
        elif step == "both report":
            total = sum(map(len, running))
            for view, ours in zip(views, running, strict=True):
                view.report(
                    RankLoad(0, total, 0, 10 * total, 10 * total),
                    1 - len(ours) / total if total else 0.0,
                )
            assert load(views[0]) == load(views[1]) == (total, 10 * total, 10 * total)


def test_a_rank_is_hungry_until_it_has_prompts_for_some_steps_or_requests_for_a_whole_batch() -> (
    None
):
    capacity = msgspec.structs.replace(CAPACITY, prefill_step_tokens=100)
    busy = Rank(hello(capacity), 0, BlockBudget(1_000))
    Booking(stream_on(busy), busy, STEPS_AHEAD * 100 - 1)
    assert busy.hungry
    more = Booking(stream_on(busy), busy, 1)
    assert not busy.hungry
    more.note_token()
    assert busy.hungry
    for _ in range(capacity.requests_running_max - 1):
        Booking(stream_on(busy), busy, 0)
    assert not busy.hungry


def test_an_engines_own_queue_is_not_sent_more_than_it_takes() -> None:
    bounded = Rank(
        hello(msgspec.structs.replace(CAPACITY, requests_queued_max=2)), 0, BlockBudget(1_000)
    )
    first = Booking(stream_on(bounded), bounded, 10)
    assert bounded.takes_one_more
    Booking(stream_on(bounded), bounded, 10)
    assert not bounded.takes_one_more
    first.note_token()
    assert bounded.takes_one_more
