"""Ends what takes longer than it may, with one timer for all that may take equally long."""

import asyncio
from functools import cached_property
from typing import Protocol


class Limited(Protocol):
    """A Limited is work that may take so long and no longer."""

    def expire(self) -> None:
        """Ends the work, since its time is over."""
        ...


class Deadlines:
    """Deadlines holds what is under way, and tells each whose time is over.

    Nearly all may take the server's own time, so that they end in the order in which they began:
    one timer waits for the first of them, and beginning and ending cost a place in a dict each.
    What may take another time has a timer of its own.

    Args:
        usual_s: the time that nearly all may take.
    """

    def __init__(self, usual_s: float) -> None:
        self._usual_s = usual_s
        self._ends: dict[Limited, float] = {}
        """Maps what may take the usual time to its end by the loop's clock, the first one first; as
        many as there are open requests, as in `_timers`.
        """
        self._timers: dict[Limited, asyncio.TimerHandle] = {}
        self._next: asyncio.TimerHandle | None = None

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """Is the one that they began on: to ask for it takes a system call."""
        return asyncio.get_running_loop()

    def begin(self, work: Limited, seconds: float) -> None:
        """Gives some work its time."""
        if seconds != self._usual_s:
            self._timers[work] = self._loop.call_later(seconds, work.expire)
            return
        self._ends[work] = self._loop.time() + seconds
        if self._next is None:
            self._next = self._loop.call_later(seconds, self._look)

    def end(self, work: Limited) -> None:
        """Forgets work that has ended."""
        if self._ends.pop(work, None) is None and (timer := self._timers.pop(work, None)):
            timer.cancel()

    def _look(self) -> None:
        """Tells those whose time is over, and waits for the next one."""
        self._next = None
        while self._ends:
            work, end = next(iter(self._ends.items()))
            if end > self._loop.time():
                self._next = self._loop.call_at(end, self._look)
                return
            del self._ends[work]
            work.expire()
