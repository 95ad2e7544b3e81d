"""GET /v1/media/{output_id} serves what a worker made, whichever frontend had it made."""

import re
from contextlib import aclosing
from functools import partial
from typing import Final

from frontend.api.launching import Launcher
from frontend.api.outputs.links import MEDIA_PATH
from frontend.api.outputs.ranges import range_of
from frontend.http.exchange import Exchange
from frontend.mesh.outputs import Outputs
from protocol.diffusion import Output
from protocol.errors import RouteNotFound

CONTENT_TYPES: Final = {
    "png": b"image/png",
    "jpeg": b"image/jpeg",
    "webp": b"image/webp",
    "mp4": b"video/mp4",
}

_OUTPUT_ID: Final = re.compile("[0-9a-f]{48}")
_TOLD_CHARS: Final = 8
"""Counts the characters of an output's name that the name of its file has."""

_KEPT: Final = (
    # It never changes, and only who was told its name may see it.
    (b"cache-control", b"private, max-age=86400, immutable"),
    (b"accept-ranges", b"bytes"),
    (b"x-content-type-options", b"nosniff"),
)


async def media(exchange: Exchange, launcher: Launcher) -> None:
    """Answers one request for an output, or for a part of it."""
    output_id = exchange.scope["path"].removeprefix(MEDIA_PATH)
    await exchange.run_until_client_leaves(_answer(exchange, launcher.outputs, output_id))


async def _answer(exchange: Exchange, outputs: Outputs, output_id: str) -> None:
    output = await outputs.find(output_id) if _OUTPUT_ID.fullmatch(output_id) else None
    if output is None:
        raise RouteNotFound(
            f"There is no output {output_id[:48]!r} here, or not any more.", param="output_id"
        )
    await send_output(exchange, outputs, output)


async def send_output(exchange: Exchange, outputs: Outputs, output: Output) -> None:
    """Answers with the bytes of an output, as fast as its client takes them, or with the part of
    them that it asks for; a HEAD with headers alone.

    Raises:
        RangeNotSatisfiable: that part is none.
        WorkerLost, DeadlineExceeded: it cannot be had.
    """
    tag = f'"{output.output_id}"'.encode()
    headers = [*_KEPT, (b"etag", tag)]
    if tag in (exchange.header(b"if-none-match") or b""):
        await exchange.send_nothing(headers, status=304)
        return
    whole = exchange.scope["method"] == "HEAD" or exchange.header(b"if-range") not in (None, tag)
    asked = None if whole else range_of(exchange.header(b"range"), output.size_bytes)
    first, end = asked or (0, output.size_bytes)
    name = f"kvmesh-{output.output_id[-_TOLD_CHARS:]}.{output.format}".encode()
    headers += [
        (b"content-type", CONTENT_TYPES[output.format]),
        (b"content-length", str(end - first).encode()),
        (b"content-disposition", b'inline; filename="%b"' % name),
    ]
    if asked:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (first, end - 1, output.size_bytes)))
    status = 206 if asked else 200
    if first == end or exchange.scope["method"] == "HEAD":
        await exchange.send_nothing(headers, status=status)
        return
    send = partial(exchange.send_slice, status=status, headers=headers)
    async with aclosing(outputs.pieces(output, first, end)) as pieces:
        async for piece in pieces:
            first += len(piece)
            await send(piece, more=first < end)
