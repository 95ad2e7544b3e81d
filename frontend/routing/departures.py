"""Tells how fast requests leave, and so how long those before a newcomer will take. Pure."""

from collections import deque
from math import ceil
from typing import Final

ENDS: Final = 64
"""Counts the ends over which the rate is taken: enough that one batch that ends at once does not
look like the rule.
"""

RETRY_S_MIN: Final = 1
"""Is the least `Retry-After`, which is in whole seconds; also said while nothing is known."""

RETRY_S_MAX: Final = 600
"""Bounds `Retry-After`: whoever is told to come back later than the longest wait there is might as
well be told that.
"""


class Departures:
    """Departures keeps when the latest requests of one model ended."""

    def __init__(self) -> None:
        self._ended_at: deque[float] = deque(maxlen=ENDS)

    def note(self, now: float) -> None:
        """Notes that a request ended, for whatever reason."""
        self._ended_at.append(now)

    def seconds_for(self, requests: int, now: float) -> int:
        """Returns the whole seconds after which so many requests will have left, if they leave as
        fast as the latest did and as slowly as since.
        """
        if not self._ended_at:
            return RETRY_S_MIN
        seconds = requests * (now - self._ended_at[0]) / len(self._ended_at)
        return min(max(RETRY_S_MIN, ceil(seconds)), RETRY_S_MAX)
