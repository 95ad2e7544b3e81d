"""This host's clock may be ahead of another's, which tells its time with every heartbeat; the
difference is estimated here.

Pure.
"""

from collections import deque
from typing import Final

TOLD_MAX: Final = 16
"""This many told times are kept, four seconds of heartbeats: as long after a clock was set, it is
known.
"""

NOTED_FROM_MS: Final = 50.0
"""A smaller difference, in milliseconds, may be the way of a message, and no deadline is meant so
exactly.
"""


class ClockSkew:
    """A ClockSkew tells how far our clock is ahead of another's. What is told is as old as its way
    took, so of the last few times the one with the least difference comes nearest to the truth.
    """

    def __init__(self) -> None:
        self.ahead_ms = 0
        """Our clock is this many milliseconds ahead of the other's, negative if behind; 0 where
        that is next to nothing.
        """
        self._differences_ms: deque[float] = deque(maxlen=TOLD_MAX)

    def note(self, told_unix_ms: float, own_unix_ms: float) -> None:
        """Notes the time that the other told, and ours when it arrived, both in milliseconds."""
        self._differences_ms.append(own_unix_ms - told_unix_ms)
        least_ms = min(self._differences_ms)
        self.ahead_ms = round(least_ms) if abs(least_ms) >= NOTED_FROM_MS else 0
