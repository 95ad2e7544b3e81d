"""Whom a lost worker may have died of: what it had begun, or had just read, and not the whole of
its queue.
"""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from frontend.fleet.booking import Booking
from frontend.fleet.rank import Rank
from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Wakeup
from frontend.mesh.bystanders import READ_S, SUSPECT_STEPS, bystanders
from frontend.routing.route import Placement
from kv_events.index import BlockBudget
from protocol.membership import Capacity, Hello, ModelCard

STEP = 100
CARD = ModelCard(name="m", context_length=8, vocab_size=100, eos_token_ids=[0], files=[])


def ranks(*, ordered: bool = True, count: int = 1) -> list[Rank]:
    capacity = Capacity(count, 16, 10_000, 8, prefill_step_tokens=STEP, orders_by_priority=ordered)
    hello = Hello(
        worker_id="w",
        epoch=1,
        service="text",
        endpoint="",
        card=CARD,
        capacity=capacity,
        credit_requests=4,
    )
    return [Rank(hello, dp_rank, BlockBudget(1_000)) for dp_rank in range(count)]


def booked(
    rank: Rank, name: str, *, tokens: int = STEP, sent_at: float = 0.0, priority: int = 0
) -> Booking:
    loop = asyncio.new_event_loop()
    loop.close()  # nobody waits for it
    return Booking(
        RequestStream(name, Wakeup(loop), Placement(rank), sent_at=sent_at),
        rank,
        tokens,
        priority=priority,
    )


LONG_AGO = 2 * READ_S


def test_the_head_of_the_queue_is_suspect_and_the_rest_is_not() -> None:
    (rank,) = ranks()
    queue = [booked(rank, str(number)) for number in range(6)]
    assert bystanders(queue, LONG_AGO) == {str(number) for number in range(SUSPECT_STEPS, 6)}


def test_requests_with_tokens_are_judged_by_those_and_hide_nobody() -> None:
    (rank,) = ranks()
    running, *queue = [booked(rank, str(number)) for number in range(5)]
    running.note_token()
    assert bystanders([running, *queue], LONG_AGO) == {"4"}


def test_what_the_worker_may_have_been_reading_is_suspect() -> None:
    (rank,) = ranks()
    queue = [booked(rank, str(number)) for number in range(4)]
    late = booked(rank, "late", sent_at=LONG_AGO)
    assert bystanders([*queue, late], LONG_AGO + READ_S) == {"3"}


def test_the_engines_order_is_that_of_priorities() -> None:
    (rank,) = ranks()
    queue = [booked(rank, str(number)) for number in range(3)] + [
        booked(rank, "urgent", priority=1)
    ]
    assert bystanders(queue, LONG_AGO) == {"2"}


def test_nothing_is_known_of_an_engine_with_an_order_of_its_own() -> None:
    (rank,) = ranks(ordered=False)
    assert bystanders([booked(rank, str(number)) for number in range(9)], LONG_AGO) == set()


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 300), st.integers(-2, 2)), max_size=30))
def test_each_rank_has_a_queue_of_its_own(sent: list[tuple[int, int, int]]) -> None:
    both = ranks(count=2)
    queue = [
        booked(both[rank], str(at), tokens=tokens, priority=priority)
        for at, (rank, tokens, priority) in enumerate(sent)
    ]
    expected: set[str] = set()
    for rank in both:
        before = 0
        for booking in sorted(
            (one for one in queue if one.rank is rank), key=lambda one: -one.priority
        ):
            if before >= SUSPECT_STEPS * STEP:
                expected.add(booking.stream.request_id)
            before += booking.prefill_tokens
    assert bystanders(queue, LONG_AGO) == expected
