"""How many may wait, so that waiting costs little and a flood does not drown those who are served. Pure.

A queue as long as memory allows only turns overload into timeouts: everybody waits, and nobody is answered in time. How long a request
will wait follows from Little's law: N requests that take D seconds each leave N / D a second. Two bounds come of it. As long as arrivals
are what the fleet can nearly bear, a surge may wait for a quarter of D. When they come much faster than requests leave, a newcomer waits
for a part of the usual time to the first token or is refused at once; so whoever is served is served in hardly more than the usual time,
however many ask.

Source: the aim is that of CoDel (RFC 8289), a bound on sojourn time instead of length, with room for bursts; refusing at the door is what
HTTP can do better than a router, since the client learns it at once.
"""

from collections import deque
from math import inf
from typing import Final

_WEIGHT: Final = 1 / 32
"""Of the latest request in the averages: a change of traffic is followed within some dozens of requests."""

_KNOWN_AFTER: Final = 8
"""Requests before averages are believed."""

SURGE_SHARE: Final = 0.25
"""Of a request's duration, which a surge may wait for."""

FLOOD_RATIO: Final = 2.5
"""Arrivals to departures from which it is a flood. Steady traffic at the limit looks like one in fewer than one of ten thousand windows."""

ARRIVALS: Final = 16
"""Over which their rate is taken: a tenfold flood is known for one in the time that the fleet serves two requests."""

WAITING_MIN: Final = 8
"""May wait while nothing is known."""


class Patience:
    """What a model's requests usually take, how many of them run, and how fast they come.

    Args:
        ratio: longest wait in a flood, in usual times to the first token; 0 for no bound at all.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._running = 0
        self._arrived_at: deque[float] = deque(maxlen=ARRIVALS)
        self._first_s = self._whole_s = 0.0
        self._firsts = self._wholes = 0

    def note_arrival(self, now: float) -> None:
        """A request came, whatever becomes of it."""
        self._arrived_at.append(now)

    def note_sent(self) -> None:
        """A request was sent to a worker."""
        self._running += 1

    def note_first_token(self, seconds: float) -> None:
        """A streamed request got its first token this long after it was sent."""
        self._firsts += 1
        self._first_s += (seconds - self._first_s) * max(_WEIGHT, 1 / self._firsts)

    def note_end(self, seconds: float) -> None:
        """A request ended this long after it was sent, for whatever reason."""
        self._running -= 1
        self._wholes += 1
        self._whole_s += (seconds - self._whole_s) * max(_WEIGHT, 1 / self._wholes)

    def waiting_max(self, now: float) -> float:
        """Requests that may wait."""
        if not self._ratio:
            return inf
        if self._wholes < _KNOWN_AFTER or not self._whole_s:
            return max(WAITING_MIN, self._running * SURGE_SHARE)
        if self._firsts >= _KNOWN_AFTER and self._flooded(now):
            # None at all in a small fleet: whoever comes when a place is free takes it, and in a flood that is at once.
            return int(min(SURGE_SHARE, self._ratio * self._first_s / self._whole_s) * self._running)
        return max(1, int(SURGE_SHARE * self._running))

    def _flooded(self, now: float) -> bool:
        if len(self._arrived_at) < ARRIVALS:
            return False
        seconds = now - self._arrived_at[0]
        return ARRIVALS * self._whole_s > FLOOD_RATIO * self._running * seconds
