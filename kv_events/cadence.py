"""Does at once what is wanted seldom, and together what is wanted often."""

import asyncio
from collections.abc import Callable


class Cadence:
    """A Cadence calls `act` when it is wanted, at once after a pause and never twice within
    `every_s`.

    Raises:
        RuntimeError: no event loop runs.
    """

    def __init__(self, act: Callable[[], None], every_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._act = act
        self._every_s = every_s
        self._next_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Wants a call, in `every_s` at most; one call is for all that wanted it before."""
        if self._timer is not None:
            return
        if self._loop.time() >= self._next_s:
            self._call()
        else:
            self._timer = self._loop.call_at(self._next_s, self._call)

    def close(self) -> None:
        """Forgets the call that is wanted."""
        if self._timer is not None:
            self._timer.cancel()

    def _call(self) -> None:
        self._timer = None
        self._next_s = self._loop.time() + self._every_s
        self._act()
