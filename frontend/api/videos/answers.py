"""A video that its client waits for is told as a whole, or by events on the way to it."""

import time
from contextlib import aclosing
from typing import Any, Final

import msgspec

from frontend.api.outputs.base64_pieces import base64_of
from frontend.api.outputs.links import link_of
from frontend.api.videos.objects import PREFIX
from frontend.http.exchange import Exchange
from frontend.http.sse import named_event
from frontend.mesh.outputs import Outputs
from protocol.diffusion import Diffuse, Diffused, JobStatus, Output, Progress

_encode: Final = msgspec.json.Encoder().encode


class VideoAnswer:
    """A VideoAnswer tells one client of the video that is made for it, in the reference product's
    form.

    Args:
        as_url: it is told by where it is, and not in base64.
    """

    def __init__(
        self, exchange: Exchange, outputs: Outputs, request: Diffuse, *, as_url: bool
    ) -> None:
        self._exchange = exchange
        self._outputs = outputs
        self._as_url = as_url
        self._model = request.model
        self._created_unix_s = int(time.time())

    async def show(self, progress: Progress | None = None) -> None:
        """Sends the event of how far it is: nowhere, where nothing was told yet."""
        status: JobStatus = "queued"
        percent = 0 if progress is None else progress.percent
        if progress is not None and (progress.step or percent):
            status = "in_progress"
        told = {"type": f"video.{status}", **self._fields(status, percent)}
        await self._exchange.send_events(named_event(told))

    async def send(self, made: Diffused) -> None:
        """Answers with the whole video.

        Raises:
            WorkerLost, DeadlineExceeded: it cannot be had; the client's connection is cut where a
            part of it was sent.
        """
        before, after = self._around(made, {})
        if self._as_url:
            await self._exchange.send_json(200, before + self._link(made.outputs[0]) + after)
            return
        async with aclosing(base64_of(self._outputs.pieces(made.outputs[0]))) as pieces:
            async for piece in pieces:
                await self._exchange.send_slice(before + piece)
                before = b""
        await self._exchange.send_slice(before + after, more=False)

    async def end(self, made: Diffused) -> None:
        """Sends the event of the whole video, and ends the stream."""
        before, after = self._around(made, {"type": "video.completed"})
        before = b"event: video.completed\ndata: " + before
        if self._as_url:
            before += self._link(made.outputs[0])
        else:
            async with aclosing(base64_of(self._outputs.pieces(made.outputs[0]))) as pieces:
                async for piece in pieces:
                    await self._exchange.send_event_part(before + piece)
                    before = b""
        await self._exchange.end_events(before + after + b"\n\n")

    def _around(self, made: Diffused, fields: dict[str, Any]) -> tuple[bytes, bytes]:
        """Returns what stands before and behind the video in its answer."""
        output = made.outputs[0]
        head = fields | self._fields("completed", 100)
        data = {
            "output_format": output.format,
            "size": f"{output.width}x{output.height}",
            "frames": output.frames,
            "fps": output.fps,
        }
        if output.seed is not None:
            data["seed"] = output.seed
        name = b"url" if self._as_url else b"b64_json"
        before = b'%b,"data":[%b,"%b":"' % (_encode(head)[:-1], _encode(data)[:-1], name)
        tail = {"error": None, "inference_time_s": made.made_us / 1_000_000}
        return before, b'"}],' + _encode(tail)[1:]

    def _fields(self, status: JobStatus, percent: int) -> dict[str, Any]:
        return {
            "id": PREFIX + self._exchange.request_id,
            "object": "video",
            "model": self._model,
            "status": status,
            "progress": percent,
            "created": self._created_unix_s,
        }

    def _link(self, output: Output) -> bytes:
        return _encode(link_of(self._exchange, output))[1:-1]
