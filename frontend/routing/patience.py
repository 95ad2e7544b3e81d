"""How many may wait, so that waiting costs no more than being served does. Pure.

A queue as long as memory allows only turns overload into timeouts: everybody waits, and nobody gets the answer in time. Here a request is
taken into the queue if it will wait about as long as the usual time to the first token, and is refused at once otherwise; so whoever is
served is served in twice the usual time, however many ask. How long it will wait follows from Little's law: N requests that take D seconds
each leave N / D a second.

Source: the aim is that of CoDel (RFC 8289), a bound on sojourn time instead of length; refusing at the door is what HTTP can do better than
a router, since the client learns it at once.
"""

from math import inf
from typing import Final

_WEIGHT: Final = 1 / 32
"""Of the latest request in the averages: a change of traffic is followed within some dozens of requests."""

_KNOWN_AFTER: Final = 8
"""Requests before averages are believed."""

_SHARE_UNKNOWN: Final = 0.25
"""Of a request's duration, which may be waited for while nobody streams, so that no first token is ever seen."""

WAITING_MIN: Final = 8
"""May wait while nothing is known, and in the smallest fleet."""


class Patience:
    """What a model's requests usually take, and how many of them run.

    Args:
        ratio: longest wait, in usual times to the first token; 0 for no such bound.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._running = 0
        self._first_s = self._whole_s = 0.0
        self._firsts = self._wholes = 0

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

    @property
    def waiting_max(self) -> float:
        """Requests that may wait."""
        if not self._ratio:
            return inf
        if self._wholes < _KNOWN_AFTER or not self._whole_s:
            return max(WAITING_MIN, self._running * _SHARE_UNKNOWN)
        share = min(1.0, self._first_s / self._whole_s) if self._firsts >= _KNOWN_AFTER else _SHARE_UNKNOWN
        return max(1.0, self._ratio * share * self._running)
