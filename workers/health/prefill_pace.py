"""How long a rank's silence is explained by the prompts that it has to compute.

Learns from silences that ended. Pure.
"""

from typing import Final

from workers.health.tolerance import TOLERATED_S_MAX

PROMPT_TOKENS_MIN: Final = 1_024
"""Fewer are no explanation: every engine computes them within what is tolerated anyway."""

STEPS: Final = 2
"""The step under way, and the one that an engine begins before it looks for requests."""

_PACE_UNKNOWN_S: Final = 1 / 500
"""Seconds a token until a rank has shown its own: slower than engines are on anything but a CPU."""

_HALF_LIFE_S: Final = 600.0


class PrefillPace:
    """Of one rank.

    Args:
        step_tokens: prompt tokens that it computes in one step at most.
    """

    def __init__(self, step_tokens: int) -> None:
        self._step_tokens = step_tokens
        self._slowest_s: float | None = None
        """Seconds a token of the slowest step of late."""
        self._learnt_at = 0.0

    def learn(self, silence_s: float, waiting_tokens: int, now: float) -> None:
        """A silence ended, with so many prompt tokens to compute when it began."""
        if waiting_tokens >= PROMPT_TOKENS_MIN:
            self._slowest_s = max(
                silence_s / min(waiting_tokens, self._step_tokens), self._faded_s(now)
            )
            self._learnt_at = now

    def explains_s(self, waiting_tokens: int, now: float) -> float:
        """For how long so many prompt tokens explain that nothing is heard."""
        if waiting_tokens < PROMPT_TOKENS_MIN:
            return 0.0
        token_s = _PACE_UNKNOWN_S if self._slowest_s is None else self._faded_s(now)
        return min(TOLERATED_S_MAX, STEPS * token_s * min(waiting_tokens, self._step_tokens))

    def _faded_s(self, now: float) -> float:
        return (self._slowest_s or 0.0) * 0.5 ** (max(0.0, now - self._learnt_at) / _HALF_LIFE_S)
