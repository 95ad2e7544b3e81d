"""A loop's lateness is looked at ten times a second: what stops it stops everybody.

A look costs some microseconds, whatever there is to do.
"""

import asyncio
from time import perf_counter
from typing import Final

from frontend.observe.buckets import Buckets

EVERY_S: Final = 0.1
"""Is the time between two looks, in seconds: a loop that stands for longer is seen for sure, and
one that stands for a part of it as often as that part."""

STALL_S: Final = 0.005
"""A loop that is late by more than this many seconds stood still: its clocks tell milliseconds."""

_LAG_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class LoopLag:
    """A LoopLag counts how late the running loop comes to what is due.

    Attributes:
        late_s: by how many seconds.
        stalls: times that it was later than STALL_S.
    """

    def __init__(self) -> None:
        self.late_s = Buckets(_LAG_S)
        self.stalls = 0
        self._due_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Looks from here on, until `close`."""
        # the loop's own clock stands still within a turn
        self._due_at = perf_counter() + EVERY_S
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._look)

    def close(self) -> None:
        """Looks no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def note(self, late_s: float) -> None:
        """Counts one look, at which the loop was so late."""
        self.late_s.add(max(0.0, late_s))
        self.stalls += late_s > STALL_S

    def _look(self) -> None:
        self.note(perf_counter() - self._due_at)
        self.start()
