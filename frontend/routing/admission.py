"""Requests that no worker has room for wait here, in order, within a bound."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from protocol.errors import Overloaded

T = TypeVar("T")


class AdmissionQueue:
    """First come, first served. One per model: room for one model is of no use to a request for another.

    Only the head tries; whoever leaves, for whatever reason, passes the turn on, so no turn is ever lost.

    Args:
        requests_waiting_max: further requests are refused at once; a queue longer than the fleet can work off within a
            client's patience only turns into timeouts.
        wait_s_max: a request that found no room for this long is refused.
    """

    def __init__(self, *, requests_waiting_max: int, wait_s_max: float) -> None:
        self._requests_waiting_max = requests_waiting_max
        self._wait_s_max = wait_s_max
        self._waiting: OrderedDict[asyncio.Event, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    async def admit(self, attempt: Callable[[], T | None]) -> T:
        """Return what `attempt` gives, trying at once if nobody waits and otherwise whenever it is the head's turn.

        Raises:
            Overloaded: the queue is full, or there was no room in time.
            Whatever `attempt` raises: then there is nothing to wait for.
        """
        if not self._waiting:
            result = attempt()
            if result is not None:
                return result
        if len(self._waiting) >= self._requests_waiting_max:
            raise Overloaded("All workers are busy and the queue is full. Please retry later.")
        turn = asyncio.Event()
        self._waiting[turn] = None
        try:
            async with asyncio.timeout(self._wait_s_max):
                return await self._wait(turn, attempt)
        except TimeoutError:
            raise Overloaded("All workers stayed busy. Please retry later.") from None
        finally:
            del self._waiting[turn]
            self.room()

    def room(self) -> None:
        """There may be room, or no hope of any: let the head try."""
        head = next(iter(self._waiting), None)
        if head is not None:
            head.set()

    @staticmethod
    async def _wait(turn: asyncio.Event, attempt: Callable[[], T | None]) -> T:
        while True:
            await turn.wait()
            turn.clear()
            result = attempt()
            if result is not None:
                return result
