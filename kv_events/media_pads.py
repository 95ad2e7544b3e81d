"""Tokens of a picture, in a prompt that is hashed, are what the engine's cache knows them by.

SGLang replaces the tokens that stand for a medium by four numbers in turn, made of the medium's
hash (srt/managers/schedule_batch.py: `_compute_pad_values`): prompts with different pictures share
no prefix from there on, and those with the same one do.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

_TAG: Final = b"sglang-mm-wide-pad-v1"
_SHIFT: Final = 1_000_000
_MASK: Final = 2**62 - 1


@dataclass(frozen=True, slots=True)
class Padded:
    """A Padded is a run of a prompt's tokens that stand for a medium.

    Attributes:
        at: position of the first of them.
        tokens: their number.
        digest: of the medium, 63 bits, as the engine is told of it.
    """

    at: int
    tokens: int
    digest: int


def pads(digest: int) -> tuple[int, int, int, int]:
    """Returns the numbers that stand for a medium in turn, each of 62 bits and a little more."""
    made = sha256(_TAG + digest.to_bytes(8, "big")).digest()
    first, second, third, fourth = (
        _SHIFT + (int.from_bytes(made[at : at + 8], "big") & _MASK) for at in range(0, 32, 8)
    )
    return first, second, third, fourth


def padded(token_ids: Sequence[int], media: Sequence[Padded]) -> "array[int]":
    """Returns a prompt as the engine's cache has it, shape [n], u64."""
    wide = array("Q", token_ids)
    for each in media:
        turns = array("Q", pads(each.digest)) * (each.tokens // 4 + 1)
        wide[each.at : each.at + each.tokens] = turns[: each.tokens]
    return wide
