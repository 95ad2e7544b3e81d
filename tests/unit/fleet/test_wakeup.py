"""What arrives wakes its handler, or is dealt with in its place."""

import asyncio
from collections.abc import Callable

import pytest

from frontend.fleet.wakeup import WAKEUPS_A_TURN, Rounds, Send, Wakeup


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Handler:
    """Waits again and again, with what deals in its place; `enough` is what that answers."""

    def __init__(self, rounds: Rounds, *, enough: bool = True) -> None:
        self.wakeup = Wakeup(asyncio.get_running_loop(), rounds)
        self.enough = enough
        self.dealt = self.sent = self.woken = 0
        self.task = asyncio.create_task(self._wait())

    def deal(self) -> Send | None:
        self.dealt += 1
        return self._send if self.enough else None

    def _send(self) -> None:
        self.sent += 1

    async def _wait(self) -> None:
        while True:
            await self.wakeup.wait(self.deal)
            self.woken += 1


@pytest.fixture
async def rounds() -> Rounds:
    return Rounds(asyncio.get_running_loop())


async def test_what_is_dealt_with_wakes_nobody(rounds: Rounds) -> None:
    handler = Handler(rounds)
    await turns()
    handler.wakeup.notify()
    handler.wakeup.notify()  # of the same turn: dealt with together
    await turns()
    assert (handler.dealt, handler.sent, handler.woken) == (1, 1, 0)
    handler.wakeup.notify()
    await turns()
    assert (handler.dealt, handler.sent, handler.woken) == (2, 2, 0)
    handler.task.cancel()


async def test_what_takes_a_handler_wakes_it(rounds: Rounds) -> None:
    handler = Handler(rounds, enough=False)
    await turns()
    handler.wakeup.notify()
    await turns()
    assert (handler.dealt, handler.sent, handler.woken) == (1, 0, 1)
    handler.task.cancel()


async def test_what_comes_before_the_handler_wakes_is_looked_at_again(rounds: Rounds) -> None:
    loop, woken = asyncio.get_running_loop(), 0
    wakeup = Wakeup(loop, rounds)

    def deal() -> Send | None:
        loop.call_soon(wakeup.notify)  # comes before the handler, which is woken in the next turn
        return None

    async def handle() -> None:
        nonlocal woken
        await wakeup.wait(deal)
        woken += 1
        await wakeup.wait()
        woken += 1

    task = asyncio.create_task(handle())
    await turns()
    wakeup.notify()
    await asyncio.wait_for(task, 5)
    assert woken == 2


async def test_what_is_raised_in_its_place_is_the_handlers(rounds: Rounds) -> None:
    def deal() -> Send:
        raise ValueError("no text")

    wakeup = Wakeup(asyncio.get_running_loop(), rounds)
    other = Handler(rounds)
    task = asyncio.create_task(wakeup.wait(deal))
    await turns()
    wakeup.notify()
    other.wakeup.notify()
    with pytest.raises(ValueError, match="no text"):
        await task
    await turns()
    assert other.dealt == 1
    other.task.cancel()


async def test_a_handler_that_has_left_is_not_dealt_for(rounds: Rounds) -> None:
    handler = Handler(rounds)
    await turns()
    handler.wakeup.notify()
    handler.task.cancel()
    await turns()
    assert handler.dealt == 0
    handler.wakeup.notify()
    await turns()
    assert handler.dealt == 0


async def test_what_is_made_in_a_turn_is_sent_behind_all_of_it(rounds: Rounds) -> None:
    told: list[str] = []

    def dealing(number: int) -> Callable[[], Send]:
        def deal() -> Send:
            told.append(f"made {number}")
            return lambda: told.append(f"sent {number}")

        return deal

    wakeups = [Wakeup(asyncio.get_running_loop(), rounds) for _ in range(WAKEUPS_A_TURN + 1)]
    tasks = [asyncio.create_task(each.wait(dealing(at))) for at, each in enumerate(wakeups)]
    await turns()
    for wakeup in wakeups:
        wakeup.notify()
    await turns()
    first = range(WAKEUPS_A_TURN)
    assert told == [
        *(f"made {number}" for number in first),
        *(f"sent {number}" for number in first),
        f"made {WAKEUPS_A_TURN}",
        f"sent {WAKEUPS_A_TURN}",
    ]
    for task in tasks:
        task.cancel()


async def test_very_many_take_several_turns_in_order(rounds: Rounds) -> None:
    handlers = [Handler(rounds) for _ in range(WAKEUPS_A_TURN + 1)]
    await turns()
    for handler in handlers:
        handler.wakeup.notify()
    await asyncio.sleep(0)
    assert [handler.dealt for handler in handlers] == [1] * WAKEUPS_A_TURN + [0]
    handlers[0].wakeup.notify()
    await asyncio.sleep(0)
    assert (handlers[0].dealt, handlers[-1].dealt) == (2, 1)
    for handler in handlers:
        handler.task.cancel()
