"""Makes base64 of bytes that come piece by piece, so that a picture is never whole in memory."""

import binascii
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final

SLICE_BYTES: Final = 48 * 1024
"""Bounds what is sent at once, a multiple of three that becomes 64 KiB: a connection's buffer takes
all of it, however slowly its client reads.
"""


def slices_of(piece: bytes) -> Iterator[bytes]:
    """Yields a piece in slices for a connection."""
    for start in range(0, len(piece), SLICE_BYTES):
        yield piece[start : start + SLICE_BYTES]


async def base64_of(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yields base64 of all pieces together, as they come, some 64 KiB at once; `pieces` is closed
    at the end.
    """
    rest = b""
    async with aclosing(pieces):
        async for piece in pieces:
            for part in slices_of(piece):
                # only what is a multiple of three bytes long has no padding
                joined = rest + part if rest else part
                whole = len(joined) - len(joined) % 3
                rest = joined[whole:]
                if whole:
                    yield binascii.b2a_base64(joined[:whole], newline=False)
    if rest:
        yield binascii.b2a_base64(rest, newline=False)
