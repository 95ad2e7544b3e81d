"""Tells how much of the prompts of late an engine had cached. Pure."""

from math import exp
from typing import Final

MEMORY_S: Final = 60.0
"""Is the time after which a request counts for a third: a change of load shows within a minute, and
single requests do not shake it.
"""


class HitRate:
    """A HitRate is the share of prompt tokens that were cached, the later the more it counts."""

    __slots__ = ("_at", "_cached", "_prompt")

    def __init__(self) -> None:
        self._prompt = self._cached = self._at = 0.0

    def note(self, prompt_tokens: int, cached_tokens: int, now: float) -> None:
        """Notes a request that ended."""
        left = exp((self._at - now) / MEMORY_S)
        self._prompt = self._prompt * left + prompt_tokens
        self._cached = self._cached * left + cached_tokens
        self._at = now

    def share(self, now: float) -> float | None:
        """Returns the share; None where hardly anything is remembered any more."""
        if self._prompt * exp((self._at - now) / MEMORY_S) < 1.0:
            return None
        return min(1.0, self._cached / self._prompt)
