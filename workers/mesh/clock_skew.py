"""How far this host's clock is ahead of another's, which tells its time with every heartbeat.

Pure.
"""

from collections import deque
from typing import Final

TOLD_MAX: Final = 16
"""Times kept, four seconds of heartbeats: as long after a clock was set, it is known."""

NOTED_FROM_MS: Final = 50.0
"""Less may be the way of a message, and no deadline is meant so exactly."""


class ClockSkew:
    """What is told is as old as its way took, so of the last few the one with the least difference
    comes nearest to the truth.
    """

    def __init__(self) -> None:
        self.ahead_ms = 0
        """Ours beyond the other's, negative if it is behind; 0 where that is next to nothing."""
        self._differences_ms: deque[float] = deque(maxlen=TOLD_MAX)

    def note(self, told_unix_ms: float, own_unix_ms: float) -> None:
        """The other told its time."""
        self._differences_ms.append(own_unix_ms - told_unix_ms)
        least_ms = min(self._differences_ms)
        self.ahead_ms = round(least_ms) if abs(least_ms) >= NOTED_FROM_MS else 0
