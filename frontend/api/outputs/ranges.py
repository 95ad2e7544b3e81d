"""Reads which part of an output a client asks for (RFC 9110, 14)."""

import re
from typing import Final

from protocol.errors import RangeNotSatisfiable

_RANGE: Final = re.compile(rb"bytes=(\d{0,18})-(\d{0,18})")


def range_of(header: bytes | None, size_bytes: int) -> tuple[int, int] | None:
    """Returns the first byte that a client asks for and the one behind the last; None for all.

    Several parts in one answer are asked for by nobody who cannot do without: they get all, as does
    who asks for something else than bytes.

    Raises:
        RangeNotSatisfiable: nothing of it is there.
    """
    match = _RANGE.fullmatch(header or b"")
    if match is None or match.groups() == (b"", b""):
        return None
    first, last = match.groups()
    if not first:
        begin, end = max(0, size_bytes - int(last)), size_bytes
    else:
        begin, end = int(first), min(int(last) + 1 if last else size_bytes, size_bytes)
        if last and int(last) < int(first):
            return None
    if begin >= end:
        raise RangeNotSatisfiable(
            f"There is nothing at {match[0].decode()}: it has {size_bytes} bytes.",
            size_bytes=size_bytes,
        )
    return begin, end
