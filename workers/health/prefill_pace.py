"""The prompts that a rank has to compute explain its silence for some time.

Learns from silences that ended. Pure.
"""

from typing import Final

from workers.health.tolerance import TOLERATED_S_MAX

PROMPT_TOKENS_MIN: Final = 1_024
"""A rank's silence is not explained by fewer waiting prompt tokens: every engine computes them
within what is tolerated anyway.
"""

STEPS: Final = 2
"""A prompt may have to wait for this many steps: the one under way, and the one that an engine
begins before it looks for requests.
"""

_PACE_UNKNOWN_S: Final = 1 / 500
"""A rank is taken to need this many seconds a prompt token until it has shown its own pace: engines
are faster on anything but a CPU.
"""

_HALF_LIFE_S: Final = 600.0


class PrefillPace:
    """A PrefillPace learns how fast one rank computes prompts and tells how long a silence they
    explain.

    Args:
        step_tokens: prompt tokens that it computes in one step at most.
    """

    def __init__(self, step_tokens: int) -> None:
        self._step_tokens = step_tokens
        self._slowest_s: float | None = None
        """The slowest step of late took this many seconds a token; None before the first."""
        self._learnt_at = 0.0

    def learn(self, silence_s: float, waiting_tokens: int, now: float) -> None:
        """Learns from a silence that ended, with so many prompt tokens to compute when it began."""
        if waiting_tokens >= PROMPT_TOKENS_MIN:
            self._slowest_s = max(
                silence_s / min(waiting_tokens, self._step_tokens), self._faded_s(now)
            )
            self._learnt_at = now

    def explains_s(self, waiting_tokens: int, now: float) -> float:
        """Returns for how many seconds so many waiting prompt tokens explain that nothing is
        heard.
        """
        if waiting_tokens < PROMPT_TOKENS_MIN:
            return 0.0
        token_s = _PACE_UNKNOWN_S if self._slowest_s is None else self._faded_s(now)
        return min(TOLERATED_S_MAX, STEPS * token_s * min(waiting_tokens, self._step_tokens))

    def _faded_s(self, now: float) -> float:
        return (self._slowest_s or 0.0) * 0.5 ** (max(0.0, now - self._learnt_at) / _HALF_LIFE_S)
