"""How long an order may be silent while it is made follows from how long steps took of late. Pure:
it is told what happens and when.
"""

from dataclasses import dataclass
from typing import Final

FIRST_STEP_S_MAX: Final = 600.0
"""Bounds the time before an order's first step: a generator that was started anew loads its model
then, and one that compiles does so for each new size.
"""

STEP_S_MIN: Final = 120.0
"""Is what any later step may take, and what comes behind the last one: a video is decoded then. A
generator that ends says so itself; only one that stands still has to be found out.
"""

STEP_S_MAX: Final = 600.0
"""Bounds what one step may take, however slow those before it were."""

SLOWER_MAX: Final = 8.0
"""Is how many times slower a step may be than the slowest of late of its size."""

_FADES: Final = 0.98
"""Is what a slowest step is worth after each further one: half after 34 of them."""


@dataclass(frozen=True, kw_only=True)
class PaceLimits:
    """PaceLimits bound what a Pace explains, in seconds."""

    first_step_s_max: float = FIRST_STEP_S_MAX
    step_s_min: float = STEP_S_MIN
    step_s_max: float = STEP_S_MAX


class Pace:
    """A Pace tells for how long a generator may be silent while it makes an order."""

    def __init__(self, limits: PaceLimits | None = None) -> None:
        self._limits = limits or PaceLimits()
        self._heard_at = 0.0
        self._unit_s = 0.0
        self._units = 1.0
        self._stepped = False
        self._doubted = False
        """Says that an order was given up which stood still, and nothing was heard since."""

    def begin(self, units: float, now: float) -> None:
        """Notes that an order begins.

        Args:
            units: how much work each of its steps is.
        """
        self._heard_at, self._units, self._stepped = now, max(units, 1e-6), False

    def note_step(self, now: float) -> None:
        """Notes that a step was made."""
        if self._stepped:
            took_s = (now - self._heard_at) / self._units
            self._unit_s = max(took_s, self._unit_s * _FADES)
        self._heard_at, self._stepped, self._doubted = now, True, False

    def give_up(self, now: float) -> None:
        """Notes that an order was given up: what it does not explain, the next one does not
        either.
        """
        self._doubted = not self.explains(now)

    def trust(self) -> None:
        """Notes that the generator said that it can work."""
        self._doubted = False

    def explains(self, now: float) -> bool:
        """Tells whether the work explains that nothing was heard until now."""
        limits = self._limits
        tolerated_s = limits.first_step_s_max
        if self._stepped:
            step_s = SLOWER_MAX * self._unit_s * self._units
            tolerated_s = min(max(step_s, limits.step_s_min), limits.step_s_max)
        return not self._doubted and now - self._heard_at <= tolerated_s
