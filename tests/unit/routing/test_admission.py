"""The admission queue: in order, bounded, and no turn is ever lost."""

import asyncio
from collections.abc import Callable

import pytest

from frontend.routing.admission import PLACED_PER_TURN, AdmissionQueue, Shedding
from frontend.routing.departures import RETRY_S_MAX, Departures
from frontend.routing.patience import Patience
from frontend.routing.waiting_memory import WaitingMemory
from protocol.errors import NoWorker, Overloaded


class Room:
    """So many places; `take` is an attempt as the mesh makes it."""

    def __init__(self, places: int = 0) -> None:
        self.places = places
        self.taken: list[str] = []

    def take(self, name: str) -> Callable[[], str | None]:
        def attempt() -> str | None:
            if not self.places:
                return None
            self.places -= 1
            self.taken.append(name)
            return name

        return attempt

    def give(self, name: str) -> None:
        """What it took is not wanted any more."""
        assert name in self.taken
        self.places += 1


def queue(waiting_max: int = 10, shedding: Shedding | None = None) -> AdmissionQueue:
    """So many may wait, where each takes a byte."""
    return AdmissionQueue(WaitingMemory(waiting_max), shedding)


async def admit(
    waiting: AdmissionQueue,
    attempt: Callable[[], str | None],
    undo: Callable[[str], None] | None = None,
) -> str:
    return await waiting.admit(attempt, undo=undo or _nothing_to_undo, size_bytes=1)


def _nothing_to_undo(name: str) -> None:
    raise AssertionError(f"{name} was placed and is not waited for")


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_with_room_nobody_waits() -> None:
    assert await admit(queue(), Room(1).take("a")) == "a"


async def test_waiters_are_served_in_order_as_far_as_there_is_room() -> None:
    waiting, room = queue(), Room()
    tasks = [asyncio.create_task(admit(waiting, room.take(name))) for name in "abcd"]
    await _settle()
    room.places = 3
    waiting.room()  # one call is enough: each passes the turn on
    await _settle()
    assert (room.taken, len(waiting)) == (["a", "b", "c"], 1)
    tasks[3].cancel()


async def test_a_newcomer_does_not_overtake() -> None:
    waiting, room = queue(), Room()
    first = asyncio.create_task(admit(waiting, room.take("first")))
    await _settle()
    room.places = 1
    second = asyncio.create_task(admit(waiting, room.take("second")))
    await _settle()
    waiting.room()
    await _settle()
    assert (room.taken, first.done(), second.done()) == (["first"], True, False)
    second.cancel()


async def test_a_turn_given_to_a_waiter_that_leaves_is_passed_on() -> None:
    waiting, room = queue(), Room()
    first, second = (
        asyncio.create_task(admit(waiting, room.take(name), room.give))
        for name in ("first", "second")
    )
    await _settle()
    room.places = 1
    waiting.room()
    first.cancel()  # in the same turn of the loop
    assert await second == "second"


async def test_a_place_given_to_a_waiter_that_leaves_before_it_hears_of_it_is_given_back() -> None:
    waiting, room = queue(), Room()
    first, second = (
        asyncio.create_task(admit(waiting, room.take(name), room.give))
        for name in ("first", "second")
    )
    await _settle()
    room.places = 1
    waiting.room()
    # behind the placing, before the waiter is woken
    asyncio.get_running_loop().call_soon(first.cancel)
    assert await second == "second"
    assert (first.cancelled(), room.taken, len(waiting)) == (True, ["first", "second"], 0)


async def test_thousands_that_can_be_placed_at_once_leave_the_loop_to_others_in_between() -> None:
    waiting, room = queue(waiting_max=1_000), Room()
    tasks = [asyncio.create_task(admit(waiting, room.take(str(number)))) for number in range(1_000)]
    await _settle()
    room.places = 1_000
    waiting.room()
    await asyncio.sleep(0)
    assert len(room.taken) == PLACED_PER_TURN
    await asyncio.gather(*tasks)
    assert room.taken == [str(number) for number in range(1_000)]


async def test_when_there_is_no_hope_everyone_hears_it() -> None:
    waiting = queue()
    gone = False

    def attempt() -> str | None:
        if gone:
            raise NoWorker("gone")
        return None

    tasks = [asyncio.create_task(admit(waiting, attempt)) for _ in range(3)]
    await _settle()
    gone = True
    waiting.room()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [NoWorker] * 3
    assert len(waiting) == 0


async def test_a_full_memory_refuses_at_once_and_is_given_back() -> None:
    waiting, room = queue(waiting_max=1), Room()
    first = asyncio.create_task(admit(waiting, room.take("a")))
    await _settle()
    with pytest.raises(Overloaded, match="full"):
        await admit(waiting, room.take("b"))
    with pytest.raises(Overloaded, match="full"):
        waiting.turn_away()
    first.cancel()
    await _settle()
    waiting.turn_away()
    room.places = 1
    assert await admit(waiting, room.take("b")) == "b"


async def test_models_share_the_memory() -> None:
    memory = WaitingMemory(1)
    one, other = AdmissionQueue(memory), AdmissionQueue(memory)
    first = asyncio.create_task(admit(one, Room().take("a")))
    await _settle()
    with pytest.raises(Overloaded):
        await admit(other, Room().take("b"))
    first.cancel()


async def test_where_load_is_shed_a_long_wait_ends() -> None:
    waiting = queue(shedding=Shedding(Patience(0.25), wait_s_max=0.01))
    with pytest.raises(Overloaded, match="stayed busy"):
        await admit(waiting, Room().take("a"))
    assert len(waiting) == 0


async def test_a_refusal_says_when_those_before_it_will_have_left() -> None:
    waiting, room = queue(waiting_max=1), Room()
    first = asyncio.create_task(admit(waiting, room.take("a")))
    await _settle()
    with pytest.raises(Overloaded) as nothing_known:
        await admit(waiting, room.take("b"))
    assert nothing_known.value.retry_after_s == 1
    first.cancel()


def test_those_before_a_newcomer_leave_as_fast_as_the_latest_did() -> None:
    departures = Departures()
    assert departures.seconds_for(1_000, 0.0) == 1
    for number in range(100):
        departures.note(number / 8)
    assert departures.seconds_for(300, 12.5) == 38  # 64 in the last 8 s
    assert departures.seconds_for(1, 12.5) == 1
    assert departures.seconds_for(300, 100.5) == 450  # nobody has left for a while
    assert departures.seconds_for(10**9, 12.5) == RETRY_S_MAX
