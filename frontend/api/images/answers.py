"""Answers with pictures, which are written into them as they are fetched."""

import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from frontend.api.images.conversion import quality_told
from frontend.api.images.schemas import ImageEditRequest, ImageFields
from frontend.api.outputs.base64_pieces import base64_of
from frontend.api.outputs.links import link_of
from frontend.http.exchange import Exchange
from frontend.mesh.outputs import Outputs
from protocol.diffusion import Diffused, Output, Progress
from protocol.errors import MeshError

_encode = msgspec.json.Encoder().encode

USAGE: Final = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
"""Is told since OpenAI's clients expect it; what draws here has no tokens to count."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A Wanted is what a client wants of its answer; the request itself is not kept for that.

    Attributes:
        as_url: pictures are told by where they are, and not in base64.
        event: the beginning of the names of events.
    """

    quality: str
    as_url: bool
    streams: bool
    event: str

    @staticmethod
    def of(request: ImageFields) -> "Wanted":
        """Returns what a request wants."""
        streams = bool(request.stream)
        return Wanted(
            quality=quality_told(request),
            as_url=request.response_format == "url"
            or (request.response_format is None and not streams),
            streams=streams,
            event="image_edit" if isinstance(request, ImageEditRequest) else "image_generation",
        )


class ImageAnswer:
    """An ImageAnswer tells one client of the pictures that are made for it."""

    def __init__(self, exchange: Exchange, outputs: Outputs, wanted: Wanted) -> None:
        self._exchange = exchange
        self._outputs = outputs
        self._wanted = wanted
        self._shown: dict[int, int] = {}
        """Counts the pictures that were shown on the way to each."""

    async def send(self, made: Diffused) -> None:
        """Answers with all pictures at once.

        Raises:
            WorkerLost, DeadlineExceeded: they cannot be had; the client's connection is cut where a
            part of them was sent.
        """
        head = {"created": int(time.time()), **self._fields(made.outputs[0]), "usage": USAGE}
        if self._wanted.as_url:
            data = [
                {"url": link_of(self._exchange, output), **_seed(output)} for output in made.outputs
            ]
            await self._exchange.send_json(200, _encode(head | {"data": data}))
            return
        before = _encode(head)[:-1] + b',"data":['
        for output in made.outputs:
            before += b'{"b64_json":"'
            async with aclosing(base64_of(self._outputs.pieces(output))) as pieces:
                async for piece in pieces:
                    await self._exchange.send_slice(before + piece)
                    before = b""
            before += b'"%b},' % _further(_seed(output))
        await self._exchange.send_slice(before[:-1] + b"]}", more=False)

    async def show(self, progress: Progress) -> None:
        """Sends the event of a picture on the way, if there is one; without it, where its worker
        has thrown it away since.
        """
        if progress.preview is None:
            return
        index = self._shown.get(progress.index, 0)
        self._shown[progress.index] = index + 1
        fields = {"partial_image_index": index, "index": progress.index}
        try:
            await self._send_event("partial_image", progress.preview, fields)
        except MeshError:
            if not self._exchange.between_events and self._exchange.started:
                raise

    async def end(self, made: Diffused) -> None:
        """Sends the event of each picture, and ends the stream."""
        last = len(made.outputs) - 1
        for index, output in enumerate(made.outputs):
            fields = {"usage": USAGE, "index": index} | _seed(output)
            await self._send_event("completed", output, fields, last=index == last)

    async def _send_event(
        self, kind: str, output: Output, fields: Mapping[str, Any], *, last: bool = False
    ) -> None:
        name = f"{self._wanted.event}.{kind}"
        told = {"type": name, "created_at": int(time.time()), **self._fields(output), **fields}
        before = b"event: %b\ndata: %b" % (name.encode(), _encode(told)[:-1])
        if self._wanted.as_url:
            before += b',"url":' + _encode(link_of(self._exchange, output)) + b"}\n\n"
        else:
            before += b',"b64_json":"'
            async with aclosing(base64_of(self._outputs.pieces(output))) as pieces:
                async for piece in pieces:
                    await self._exchange.send_event_part(before + piece)
                    before = b""
            before += b'"}\n\n'
        await (self._exchange.end_events if last else self._exchange.send_events)(before)

    def _fields(self, output: Output) -> dict[str, Any]:
        return {
            "background": "opaque",
            "output_format": output.format,
            "quality": self._wanted.quality,
            "size": f"{output.width}x{output.height}",
        }


def _seed(output: Output) -> dict[str, Any]:
    return {} if output.seed is None else {"seed": output.seed}


def _further(fields: Mapping[str, Any]) -> bytes:
    return b"," + _encode(fields)[1:-1] if fields else b""
