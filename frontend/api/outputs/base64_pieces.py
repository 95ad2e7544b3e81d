"""Makes base64 of bytes that come piece by piece, so that a picture is never whole in memory."""

import binascii
from collections.abc import AsyncGenerator
from contextlib import aclosing


async def base64_of(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yields base64 of all pieces together, as they come; `pieces` is closed at the end."""
    rest = b""
    async with aclosing(pieces):
        async for piece in pieces:
            # only what is a multiple of three bytes long has no padding
            whole = len(rest) + len(piece)
            whole -= whole % 3
            begun, rest = rest, piece[max(0, whole - len(rest)) :]
            if not whole:
                rest = begun + rest
                continue
            yield binascii.b2a_base64(begun + piece[: whole - len(begun)], newline=False)
    if rest:
        yield binascii.b2a_base64(rest, newline=False)
