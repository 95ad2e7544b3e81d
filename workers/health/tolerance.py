"""Silence is taken for work up to a limit, which is learnt here from alarms that turned out to be
wrong.
"""

from typing import Final

TOLERATED_S_MAX: Final = 60.0
"""Silence is tolerated for at most this many seconds, unless the settings tolerate more: no step of
an engine that lives takes longer, and only a first one that compiles its kernels may come near.
"""

_HALF_LIFE_S: Final = 600.0
"""What was learnt is worth half after this many seconds, so that an engine that was slow while it
warmed up is not watched less closely for ever.
"""


class Tolerance:
    """A Tolerance tells how many seconds of silence are not yet an alarm.

    Never below `least_s` nor above TOLERATED_S_MAX, unless `least_s` is.
    """

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._learnt_s = 0.0
        self._learnt_at = 0.0

    def at(self, now: float) -> float:
        """Returns how many seconds of silence are tolerated at this time."""
        faded_s = self._learnt_s * 0.5 ** (max(0.0, now - self._learnt_at) / _HALF_LIFE_S)
        return max(self._least_s, faded_s)

    def learn(self, silence_s: float, now: float) -> None:
        """Learns that an alarm was wrong, since output came after `silence_s`.

        Twice as much is tolerated from now on.
        """
        self._learnt_s = min(TOLERATED_S_MAX, max(2 * silence_s, self.at(now)))
        self._learnt_at = now
