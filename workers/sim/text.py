"""The next token is a function of all tokens before it, and of nothing else, so that text is
deterministic.

A prompt followed by half an answer therefore continues, on any worker, with the other half: what
migration needs. The state is a polynomial hash modulo 2^64 over the whole sequence, so a token
costs O(1) and a prompt one dot product per 4,096 ids (Karp and Rabin, "Efficient randomized
pattern-matching algorithms", 1987).
"""

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_MASK: Final = (1 << 64) - 1
_BASE: Final = 0x9E3779B97F4A7C15
_SPREAD: Final = 0xD6E8FEB86659FD93
_DRAW_BITS: Final = 52
_CHUNK: Final = 4_096


def _powers() -> list[int]:
    powers = [1]
    for _ in range(_CHUNK):
        powers.append(powers[-1] * _BASE & _MASK)
    return powers


_POWERS: Final = _powers()
_WEIGHTS: Final = np.array(_POWERS[_CHUNK - 1 :: -1], dtype=np.uint64)
"""The last k of these weigh k tokens: _BASE ** (_CHUNK - 1 - i) at i, shape [_CHUNK]."""


def sequence_state(token_ids: NDArray[np.uint32]) -> int:
    """Returns the hash of a sequence, shape [n].

    Equal to `advance` applied to each id in turn, from the state of the empty sequence, 1.
    """
    state = 1
    for start in range(0, len(token_ids), _CHUNK):
        part = token_ids[start : start + _CHUNK].astype(np.uint64)
        count = len(part)
        state = (state * _POWERS[count] + int(_WEIGHTS[_CHUNK - count :].dot(part))) & _MASK
    return state


def advance(state: int, token_id: int) -> int:
    """Returns the state of the sequence with one more token."""
    return (state * _BASE + token_id) & _MASK


class TextModel:
    """A TextModel picks tokens from a vocabulary by the sequence's state.

    Args:
        word_ids: the ids to write with; neither empty nor holding `eos_id`.
        seed: mixed into every pick, so that fleets can be told apart.
        eos_id: ends a text, if `output_tokens_mean` asks for it.
        output_tokens_mean: mean of the geometric length of outputs; 0 for outputs that never end by
        themselves. The geometric distribution is memoryless, which keeps the end, too, a function
        of the sequence alone.
    """

    def __init__(
        self,
        word_ids: Sequence[int],
        *,
        seed: int = 0,
        eos_id: int | None = None,
        output_tokens_mean: float = 0.0,
    ) -> None:
        self._words = list(word_ids)
        self._count = len(self._words)
        self.seed = seed
        self._eos = eos_id
        ends = eos_id is not None and output_tokens_mean > 0
        self._eos_below = int((1 << _DRAW_BITS) / max(1.0, output_tokens_mean)) if ends else 0

    def salt(self, request_seed: int | None) -> int:
        """Returns what to mix into the picks of a request, by its seed."""
        own = 0 if request_seed is None else request_seed * 2 + 1
        return (self.seed * _SPREAD ^ own * _BASE) & _MASK

    def pick(self, state: int, salt: int, may_end: bool) -> int:
        """Returns the token after a sequence; eos only if it may end."""
        draw = ((state ^ salt) * _SPREAD & _MASK) >> (64 - _DRAW_BITS)
        if may_end and draw < self._eos_below:
            assert self._eos is not None
            return self._eos
        return self._words[draw % self._count]

    def pick_except(self, state: int, salt: int, banned: Collection[int]) -> int:
        """Returns the token after a sequence, the nearest word that is not banned (any word if all
        are).
        """
        draw = ((state ^ salt) * _SPREAD & _MASK) >> (64 - _DRAW_BITS)
        candidates = (self._words[(draw + step) % self._count] for step in range(len(banned) + 1))
        return next(
            (word for word in candidates if word not in banned), self._words[draw % self._count]
        )
