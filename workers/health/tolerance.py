"""How long silence is taken for work. Learns from alarms that turned out to be wrong."""

from typing import Final

TOLERATED_S_MAX: Final = 60.0
"""No step of an engine that lives takes longer; a first one that compiles its kernels may come
near.
"""

_HALF_LIFE_S: Final = 600.0
"""What was learnt fades: an engine that was slow while it warmed up is not watched less closely for
ever.
"""


class Tolerance:
    """Silence, in seconds, that is not yet an alarm.

    Never below `least_s` nor above TOLERATED_S_MAX, unless `least_s` is.
    """

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._learnt_s = 0.0
        self._learnt_at = 0.0

    def at(self, now: float) -> float:
        """What is tolerated at this time."""
        faded_s = self._learnt_s * 0.5 ** (max(0.0, now - self._learnt_at) / _HALF_LIFE_S)
        return max(self._least_s, faded_s)

    def learn(self, silence_s: float, now: float) -> None:
        """An alarm was wrong: output came after `silence_s`.

        Twice as much is tolerated from now on.
        """
        self._learnt_s = min(TOLERATED_S_MAX, max(2 * silence_s, self.at(now)))
        self._learnt_at = now
