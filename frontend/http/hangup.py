"""Sees clients leave who are not read, since they pipelined requests."""

import asyncio
import select
from collections.abc import Callable
from typing import Final

HANGUP_POLL_S: Final = 0.05
"""Is the time between two looks whether a client that pipelined requests has gone; nothing is read
then, so it would not be seen. Behind a body too large for the kernel's buffer not even this does:
the client's FIN waits until there is room.
"""

_HANGUP: Final = getattr(select, "POLLRDHUP", select.POLLHUP)


class HangupWatch:
    """A HangupWatch aborts a connection whose client has gone, while it is to look.

    Args:
        is_blind: tells whether nothing is read, so that it is to look.
    """

    def __init__(self, transport: asyncio.Transport, is_blind: Callable[[], bool]) -> None:
        self._transport = transport
        self._is_blind = is_blind
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Looks from here on, until there is no need."""
        if self._next is None:
            self._next = self._loop.call_later(HANGUP_POLL_S, self._look)

    def end(self) -> None:
        """Looks no more."""
        if self._next is not None:
            self._next.cancel()

    def _look(self) -> None:
        self._next = None
        if not self._is_blind() or self._transport.is_closing():
            return
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket"), _HANGUP)
        if poll.poll(0):
            self._transport.abort()
        else:
            self.begin()
