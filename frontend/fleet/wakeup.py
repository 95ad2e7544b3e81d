"""Wakes whoever waits for the output of requests; what is ordinary is dealt with without that."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

WAKEUPS_A_TURN: Final = 64
"""Bounds the wakeups whose output is dealt with in one turn of the loop, some millisecond of
tokens: what was made of them leaves before the next ones are looked at.
"""

Send = Callable[[], None]
"""A Send has what was made for one client leave; it does not raise."""

Deal = Callable[[], Send | None]
"""A Deal makes of what arrived what the client is sent; it returns None where that takes the
handler, and raises what the handler is to raise.
"""


def nothing_to_send() -> None:
    """Is the Send of an arrival of which the client is told nothing."""


class Notified(Protocol):
    """A Notified is told that something arrived in a stream."""

    def notify(self) -> None:
        """Takes note that something arrived."""
        ...


class Wakeup:
    """A Wakeup lets one handler wait for any of its requests to move.

    Several deliveries before the handler runs wake it once: that is what merges tokens under load.

    Args:
        rounds: of the frontend, for handlers that can have what is ordinary dealt with.
    """

    __slots__ = ("_deal", "_loop", "_raised", "_rounds", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop, rounds: "Rounds | None" = None) -> None:
        self._loop = loop
        self._rounds = rounds
        self._raised = False
        self._waiter: asyncio.Future[bool] | None = None
        self._deal: Deal | None = None

    def notify(self) -> None:
        """Wakes the handler, since something arrived, or has it dealt with in this turn."""
        if self._raised:
            return
        self._raised = True
        if self._deal is not None and self._rounds is not None:
            self._rounds.add(self)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)

    async def wait(self, deal: Deal | None = None) -> None:
        """Returns once something arrived since the last call that nobody has dealt with.

        Args:
            deal: called in place of waking the handler.
        """
        dealt = False
        if not self._raised:
            self._waiter, self._deal = self._loop.create_future(), deal
            try:
                dealt = await self._waiter
            finally:
                self._waiter = self._deal = None
        if not dealt:  # otherwise what was raised since has not been looked at
            self._raised = False

    def deal(self) -> Send:
        """Deals with what arrived, and returns what is still to be sent of it; wakes the handler if
        that is not enough.
        """
        deal, waiter = self._deal, self._waiter
        if deal is None or waiter is None or waiter.done():
            return nothing_to_send  # the handler looks itself
        self._raised = False
        try:
            if (send := deal()) is not None:
                return send
            waiter.set_result(True)
        except Exception as error:  # noqa: BLE001 - it is the handler's, which raises it
            waiter.set_exception(error)
        return nothing_to_send


class Rounds:
    """A Rounds has what arrived for many handlers dealt with in one go, behind the delivery of all
    of it: one turn of the loop in place of one for each, and tokens merge as with those.

    What is made in a turn is sent behind the making of all of it: the kernel's part of a write is
    the larger one, and costs less where one follows the other and who reads on this host is still
    awake.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._raised: deque[Wakeup] = deque()
        """Is bounded by the requests under way, and what their handlers have left unseen."""
        self._going = False

    def add(self, wakeup: Wakeup) -> None:
        """Has a wakeup deal with what arrived, in the next turn or, of very many, a later one."""
        self._raised.append(wakeup)
        if not self._going:
            self._going = True
            self._loop.call_soon(self._go_round)

    def _go_round(self) -> None:
        raised = self._raised
        sends = [raised.popleft().deal() for _ in range(min(len(raised), WAKEUPS_A_TURN))]
        self._going = bool(raised)
        if raised:
            self._loop.call_soon(self._go_round)
        for send in sends:
            send()
