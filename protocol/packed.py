"""Packs numbers as raw little-endian bytes: what travels by the thousand never becomes a msgpack
list.
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Literal

from protocol.errors import ProtocolViolation

_BIG_ENDIAN = sys.byteorder == "big"


def pack(typecode: Literal["I", "Q"], numbers: Iterable[int]) -> bytes:
    """Packs numbers, shape [n], as u32 ("I") or u64 ("Q") into 4n or 8n bytes.

    Raises:
        OverflowError: one is negative or does not fit.
    """
    packed = array(typecode, numbers)
    if _BIG_ENDIAN:
        packed.byteswap()
    return packed.tobytes()


def as_packed(typecode: Literal["I", "Q"], numbers: "array[int]") -> "bytes | array[int]":
    """Returns what `pack` does, or an array whose memory holds just that, and which is not to be
    changed.
    """
    if _BIG_ENDIAN or numbers.typecode != typecode:
        return pack(typecode, numbers)
    return numbers


def unpack(typecode: Literal["I", "Q"], packed: bytes) -> Sequence[int]:
    """Unpacks u32 ("I") or u64 ("Q") into an array, shape [n].

    Raises:
        ProtocolViolation: the length is no multiple of a number's.
    """
    numbers = array(typecode)
    if len(packed) % numbers.itemsize:
        raise ProtocolViolation(
            f"numbers take {numbers.itemsize} bytes each, got {len(packed)} bytes"
        )
    numbers.frombytes(packed)
    if _BIG_ENDIAN:
        numbers.byteswap()
    return numbers
