"""Admission keeps room for the output that running sequences will yet make.

Source: new_token_ratio and CLIP_MAX_NEW_TOKENS of SGLang 0.5.23 (srt/managers/scheduler.py,
schedule_policy.py).
"""

from collections.abc import Sequence as Several
from typing import Final

from workers.sim.scheduling.sequence import Sequence

RESERVED_TOKENS_MAX: Final = 4_096
"""Admission reserves for at most this many tokens of future output (SGLang:
CLIP_MAX_NEW_TOKENS).
"""

_RATIO_INITIAL: Final = 0.7
_RATIO_FLOOR: Final = 0.14
_RATIO_DECAY_STEPS: Final = 600
_RETRACT_STEPS: Final = 20
"""These four are SGLANG_INIT_NEW_TOKEN_RATIO, SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR,
SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS, SGLANG_RETRACT_DECODE_STEPS.
"""


class Reserve:
    """A Reserve keeps the share of its possible output that each sequence is expected to make.

    Falls with every decode step, and rises when sequences had to be taken back.

    Args:
        conservativeness: SGLang's --schedule-conservativeness.
    """

    def __init__(self, conservativeness: float) -> None:
        self._initial = min(1.0, _RATIO_INITIAL * conservativeness)
        self._ratio = self._initial

    def tokens(self, running: Several[Sequence]) -> int:
        """Returns how many tokens are reserved for all that runs."""
        return int(sum([remaining(sequence) for sequence in running]) * self._ratio)

    def decoded(self) -> None:
        """Notes that a step made a token of each sequence."""
        self._ratio = max(
            _RATIO_FLOOR * self._initial,
            self._ratio - self._initial * (1 - _RATIO_FLOOR) / _RATIO_DECAY_STEPS,
        )

    def idled(self) -> None:
        """Forgets what was learnt, since nothing runs."""
        self._ratio = self._initial

    def retracted(self, running: Several[Sequence]) -> None:
        """Notes that a sequence was taken back, and that these still run."""
        generated = sum(len(sequence.output) for sequence in running)
        allowed = sum(sequence.max_new_tokens for sequence in running)
        self._ratio = min(1.0, (generated + _RETRACT_STEPS * len(running)) / (allowed + 1))


def remaining(sequence: Sequence) -> int:
    """Returns how many tokens a sequence may yet make, as far as room is kept for them."""
    return min(sequence.max_new_tokens - len(sequence.output), RESERVED_TOKENS_MAX)


def cheapest(running: list[Sequence]) -> Sequence:
    """Returns the sequence to take back first: that with the least output, then the longest
    prompt.
    """
    return min(running, key=lambda sequence: (len(sequence.output), -sequence.prompt_tokens))
