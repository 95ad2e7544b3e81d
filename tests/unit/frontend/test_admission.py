"""The admission queue: in order, bounded, and no turn is ever lost."""

import asyncio
from collections.abc import Callable

import pytest

from frontend.routing.admission import AdmissionQueue
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


def queue(waiting_max: int = 10, wait_s_max: float = 30.0) -> AdmissionQueue:
    return AdmissionQueue(requests_waiting_max=waiting_max, wait_s_max=wait_s_max)


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_with_room_nobody_waits() -> None:
    assert await queue().admit(Room(1).take("a")) == "a"


async def test_waiters_are_served_in_order_as_far_as_there_is_room() -> None:
    waiting, room = queue(), Room()
    tasks = [asyncio.create_task(waiting.admit(room.take(name))) for name in "abcd"]
    await _settle()
    room.places = 3
    waiting.room()  # one call is enough: each passes the turn on
    await _settle()
    assert (room.taken, len(waiting)) == (["a", "b", "c"], 1)
    tasks[3].cancel()


async def test_a_newcomer_does_not_overtake() -> None:
    waiting, room = queue(), Room()
    first = asyncio.create_task(waiting.admit(room.take("first")))
    await _settle()
    room.places = 1
    second = asyncio.create_task(waiting.admit(room.take("second")))
    await _settle()
    waiting.room()
    await _settle()
    assert (room.taken, first.done(), second.done()) == (["first"], True, False)
    second.cancel()


async def test_a_turn_given_to_a_waiter_that_leaves_is_passed_on() -> None:
    waiting, room = queue(), Room()
    first, second = (asyncio.create_task(waiting.admit(room.take(name))) for name in ("first", "second"))
    await _settle()
    room.places = 1
    waiting.room()
    first.cancel()  # in the same turn of the loop
    assert await second == "second"


async def test_when_there_is_no_hope_everyone_hears_it() -> None:
    waiting = queue()
    gone = False

    def attempt() -> str | None:
        if gone:
            raise NoWorker("gone")
        return None

    tasks = [asyncio.create_task(waiting.admit(attempt)) for _ in range(3)]
    await _settle()
    gone = True
    waiting.room()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [NoWorker] * 3
    assert len(waiting) == 0


async def test_a_full_queue_refuses_at_once_and_a_long_wait_ends() -> None:
    waiting = queue(waiting_max=1, wait_s_max=0.01)
    patient = asyncio.create_task(waiting.admit(Room().take("a")))
    await _settle()
    with pytest.raises(Overloaded, match="full"):
        await waiting.admit(Room().take("b"))
    with pytest.raises(Overloaded, match="stayed busy"):
        await patient
    assert len(waiting) == 0
