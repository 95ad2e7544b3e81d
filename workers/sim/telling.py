"""What a simulated engine has to tell is delivered outside the stack of whoever caused it."""

import asyncio
from collections.abc import Callable, Sequence

from protocol.replies import Delta
from workers.engine import Deliver


class Telling:
    """A Telling hands deltas on, a loop turn at a time, until it is closed.

    Args:
        passed: what each batch goes through: what is added to it, and what is held back of it.
    """

    def __init__(
        self, deliver: Deliver, *passed: Callable[[Sequence[Delta]], Sequence[Delta]]
    ) -> None:
        self._deliver = deliver
        self._passed = passed
        self._untold: list[Delta] = []
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def now(self, deltas: Sequence[Delta]) -> None:
        """Delivers the deltas of a step."""
        for change in self._passed:
            deltas = change(deltas)
        if deltas:
            self._deliver(deltas)

    def soon(self, delta: Delta) -> None:
        """Delivers a delta in a later turn, with whatever else falls into the same one."""
        if not self._untold:
            self._loop.call_soon(self._turn)
        self._untold.append(delta)

    def close(self, deltas: Sequence[Delta]) -> None:
        """Delivers the last deltas, and whatever else was to be told."""
        self._closed = True
        last, self._untold = [*self._untold, *deltas], []
        self.now(last)

    def _turn(self) -> None:
        deltas, self._untold = self._untold, []
        if deltas and not self._closed:
            self.now(deltas)
