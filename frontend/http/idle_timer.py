"""Closes connections on which nobody asks for anything any more."""

import asyncio
from collections.abc import Callable


class IdleTimer:
    """An IdleTimer closes a connection that is idle for so long after an answer.

    Its timer looks back when it is due, instead of beginning anew with each request.

    Args:
        is_busy: tells whether a request is being answered, or arriving.
    """

    def __init__(
        self, idle_s_max: float, *, is_busy: Callable[[], bool], close: Callable[[], None]
    ) -> None:
        self._idle_s_max = idle_s_max
        self._is_busy = is_busy
        self._close = close
        self._loop = asyncio.get_running_loop()
        self._idle_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def note_answered(self) -> None:
        """Begins the time anew, since an answer has ended."""
        self._idle_since = self._loop.time()
        if self._timer is None:
            self._look_at(self._idle_since + self._idle_s_max)

    def end(self) -> None:
        """Closes nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_at(self, when: float) -> None:
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        idle_until = self._idle_since + self._idle_s_max
        if self._is_busy():
            return  # the end of the answer begins it anew
        if idle_until > self._loop.time():
            self._look_at(idle_until)
        else:
            self._close()
