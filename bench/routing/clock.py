"""Virtual time: callbacks in order of when they are due, and among equals in the order they were
asked for.
"""

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    """Seconds since the simulation began. Nothing here sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._asked = 0

    def after(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Call back `delay_s` from now."""
        self._asked += 1
        heapq.heappush(self._due, (self.now + delay_s, self._asked, call, args))

    def run(self, until: Callable[[], bool], end_s: float) -> None:
        """Run until `until()` holds (asked every simulated quarter of a second), nothing is due, or
        `end_s` has come.
        """
        due, pop, ask_at = self._due, heapq.heappop, self.now
        while due:
            at, _, call, args = pop(due)
            if at >= ask_at:
                if at > end_s or until():
                    return
                ask_at = at + 0.25
            self.now = at
            call(*args)
