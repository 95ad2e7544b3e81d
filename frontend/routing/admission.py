"""Requests that no worker has room for wait here, by priority and then in order, within a bound."""

import asyncio
from bisect import insort
from collections.abc import Callable
from typing import TypeVar

from frontend.routing.patience import Patience
from protocol.errors import Overloaded

T = TypeVar("T")


class _Turn:
    """One waiter's place: who is being served already, then higher priorities, then who came first."""

    __slots__ = ("called", "choosy", "rank")

    def __init__(self, priority: int, arrival: int, *, choosy: bool, admitted: bool) -> None:
        self.rank = (not admitted, -priority, arrival)
        self.choosy = choosy
        self.called = asyncio.Event()

    def __lt__(self, other: "_Turn") -> bool:
        return self.rank < other.rank


class AdmissionQueue:
    """One per model: room for one model is of no use to a request for another.

    Only the head tries; whoever leaves, for whatever reason, passes the turn on, so no turn is ever lost. A choosy request, which only
    some ranks will do for, tries at its turn but does not keep those behind it from trying too.

    Args:
        requests_waiting_max: further requests are refused at once; a queue longer than the fleet can work off within a
            client's patience only turns into timeouts.
        wait_s_max: a request that found no room for this long is refused.
        patience: how many of these places may be taken at present.
    """

    def __init__(self, *, requests_waiting_max: int, wait_s_max: float, patience: Patience | None = None) -> None:
        self.patience = patience or Patience(0)
        self._requests_waiting_max = requests_waiting_max
        self._wait_s_max = wait_s_max
        self._waiting: list[_Turn] = []
        self._arrivals = 0
        self._stepped_back = False
        """Somebody came while others had been called but had not tried yet."""

    def __len__(self) -> int:
        return len(self._waiting)

    def turn_away(self) -> None:
        """A request came: refuse what `admit` would refuse, before anything is done for it.

        Raises:
            Overloaded: others wait already, and there is no place beside them.
        """
        self.patience.note_arrival(asyncio.get_running_loop().time())
        if self._waiting:
            self._refuse_if_full()

    async def admit(self, attempt: Callable[[], T | None], *, priority: int = 0, choosy: bool = False, admitted: bool = False) -> T:
        """Return what `attempt` gives, trying at once if nobody comes before it and otherwise whenever it is its turn.

        Raises:
            Overloaded: the queue is full, or there was no room in time.
            Whatever `attempt` raises: then there is nothing to wait for.
        """
        self._arrivals += 1
        turn = _Turn(priority, self._arrivals, choosy=choosy, admitted=admitted)
        called = any(other.called.is_set() for other in self._waiting)
        if not self._waiting or turn < self._waiting[0] or (not called and all(other.choosy for other in self._waiting)):
            result = attempt()
            if result is not None:
                return result
        if not admitted:  # those are bounded by what runs
            self._refuse_if_full()
        insort(self._waiting, turn)
        self._stepped_back |= called
        try:
            async with asyncio.timeout(self._wait_s_max):
                return await self._wait(turn, attempt)
        except TimeoutError:
            raise Overloaded("All workers stayed busy. Please retry later.") from None
        finally:
            self._waiting.remove(turn)
            self.room()

    def room(self) -> None:
        """There may be room, or no hope of any: let the head try, and the choosy ones before it."""
        for turn in self._waiting:
            turn.called.set()
            if not turn.choosy:
                break

    def _refuse_if_full(self) -> None:
        now = asyncio.get_running_loop().time()
        if len(self._waiting) >= min(self._requests_waiting_max, self.patience.waiting_max(now)):
            raise Overloaded("All workers are busy and the queue is full. Please retry later.")

    async def _wait(self, turn: _Turn, attempt: Callable[[], T | None]) -> T:
        while True:
            await turn.called.wait()
            turn.called.clear()
            result = attempt()
            if result is not None:
                return result
            if self._stepped_back:  # the place may be of use to whoever came meanwhile
                self._stepped_back = False
                self.room()
