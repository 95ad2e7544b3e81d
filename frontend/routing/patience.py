"""Tells how many requests may wait, so that waiting costs little and a flood does not drown those
who are served.

Pure.

For those who promise latencies (--shed-load): in a queue as long as memory allows everybody waits,
and who is answered is answered late. How long a request will wait follows from Little's law: N
requests that take D seconds each leave N / D a second. As long as arrivals are what the fleet can
nearly bear, a surge may wait for a share of D. When they come much faster than requests leave,
nobody waits: whoever comes when a place is free takes it, which in a flood is at once, and
everybody else is refused at once. So whoever is served is served as fast as ever.

Source: the aim is that of CoDel (RFC 8289), a bound on sojourn time instead of length, with room
for bursts; refusing at the door is what HTTP can do better than a router, since the client learns
it at once.
"""

from collections import deque
from typing import Final

_WEIGHT: Final = 1 / 32
"""Is the weight of the latest request in the average: a change of traffic is followed within some
dozens of requests.
"""

_KNOWN_AFTER: Final = 8
"""Counts the requests before the average is believed."""

FLOOD_RATIO: Final = 2.5
"""Is the ratio of arrivals to departures from which it is a flood.

Steady traffic at the limit looks like one in fewer than one of ten thousand windows.
"""

ARRIVALS: Final = 16
"""Counts the arrivals over which their rate is taken: a tenfold flood is known for one in the time
that the fleet serves two requests.
"""

WAITING_MIN: Final = 8
"""Counts the requests that may wait while nothing is known."""


class Patience:
    """A Patience knows how long a model's requests usually take, how many of them run, and how fast
    they come.

    Args:
        share: of a request's duration, which a surge may wait for. A flood is over when it has been
        none for as long.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._running = 0
        self._arrived_at: deque[float] = deque(maxlen=ARRIVALS)
        self._whole_s = 0.0
        self._wholes = 0
        self._flood_until = 0.0

    def note_arrival(self, now: float) -> None:
        """Notes that a request came, whatever becomes of it."""
        self._arrived_at.append(now)

    def note_sent(self) -> None:
        """Notes that a request was sent to a worker."""
        self._running += 1

    def note_end(self, seconds: float) -> None:
        """Notes that a request ended this long after it was sent, for whatever reason."""
        self._running -= 1
        self._wholes += 1
        self._whole_s += (seconds - self._whole_s) * max(_WEIGHT, 1 / self._wholes)

    def waiting_max(self, now: float) -> float:
        """Returns how many requests may wait; to be asked when one would have to."""
        if self._wholes < _KNOWN_AFTER or not self._whole_s:
            return max(WAITING_MIN, self._running * self._share)
        if self._too_many_come(now):
            self._flood_until = now + self._share * self._whole_s
        return 0 if now < self._flood_until else max(1, int(self._share * self._running))

    def _too_many_come(self, now: float) -> bool:
        if len(self._arrived_at) < ARRIVALS:
            return False
        seconds = now - self._arrived_at[0]
        return ARRIVALS * self._whole_s > FLOOD_RATIO * self._running * seconds
