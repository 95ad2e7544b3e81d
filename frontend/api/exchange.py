"""One HTTP exchange on the hot path: the body within its cap, the answer or the event stream, the client's leaving, the error.

Raw ASGI: FastAPI's request and response objects cost more than the rest of a short chat.
"""

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from frontend.api.errors import error_body, error_status
from protocol.errors import BodyTooLarge, ClientGone, DeadlineExceeded, InternalFault, MeshError

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
"""What of a client's x-request-id is echoed; anything else is replaced, so that it cannot split headers or fill logs."""

_JSON: Final = (b"content-type", b"application/json")
_EVENTS: Final = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class Exchange:
    """A request being answered. Exactly one of `send_json`, an event stream, or an error leaves."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, body_bytes_max: int) -> None:
        self._receive = receive
        self._send = send
        self._body_bytes_max = body_bytes_max
        self._streaming = False
        self.request_id = os.urandom(16).hex()
        """32 hex digits: the name of the request in the mesh."""
        self.traceparent: str | None = None
        self._echoed_id = self.request_id.encode()
        self._announced_too_large = False
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                self._echoed_id = value
            elif name == b"traceparent" and len(value) <= 64:
                self.traceparent = value.decode("latin-1")
            elif name == b"content-length" and int(value) > body_bytes_max:
                self._announced_too_large = True

    async def read_body(self) -> bytes:
        """The whole body.

        Raises:
            BodyTooLarge: more than the cap; what is above it is never kept.
            ClientGone: the client left before the end.
        """
        if self._announced_too_large:
            raise self._too_large()
        message = await self._receive()
        if not message.get("more_body") and message["type"] == "http.request":
            body = message.get("body", b"")
            if len(body) > self._body_bytes_max:
                raise self._too_large()
            return body
        parts = bytearray()
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone("The client left.")
            parts += message.get("body", b"")
            if len(parts) > self._body_bytes_max:
                raise self._too_large()
            if not message.get("more_body"):
                return bytes(parts)
            message = await self._receive()

    async def run_until_client_leaves(self, work: Awaitable[None]) -> None:
        """Await `work`, cancelling it as soon as the client disconnects. To be called after the body was read.

        No ASGI server cancels a handler that is not sending; a client that only closes its sending half counts as gone.

        Raises:
            ClientGone: the client left first.
        """
        task = asyncio.current_task()
        assert task is not None
        left = False

        async def watch() -> None:
            nonlocal left
            while (await self._receive())["type"] != "http.disconnect":
                pass
            left = True
            task.cancel()

        watcher = asyncio.get_running_loop().create_task(watch())
        try:
            await work
        except asyncio.CancelledError:
            if left and task.uncancel() == 0:
                raise ClientGone("The client left.") from None
            raise
        finally:
            watcher.cancel()

    async def send_json(self, status: int, body: bytes, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Answer with one JSON body."""
        length = (b"content-length", str(len(body)).encode())
        await self._start(status, [_JSON, length, *headers])
        await self._send({"type": "http.response.body", "body": body})

    async def send_events(self, events: bytes) -> None:
        """Send one or more complete SSE events; the first call starts the 200."""
        if not self._streaming:
            self._streaming = True
            await self._start(200, _EVENTS)
        await self._send({"type": "http.response.body", "body": events, "more_body": True})

    async def end_events(self, events: bytes) -> None:
        """Send the last events and end the stream."""
        await self.send_events(events)
        await self._send({"type": "http.response.body", "body": b""})

    async def answer(self, work: Callable[["Exchange"], Awaitable[None]], *, deadline_s: float) -> MeshError | None:
        """Run a handler; whatever it raises becomes the one error that the client sees.

        Returns:
            The error, for the metrics; None when the exchange was answered.
        """
        try:
            async with asyncio.timeout(deadline_s):
                await work(self)
        except TimeoutError:
            error: MeshError = DeadlineExceeded(f"The request was not finished within {deadline_s:g} seconds.")
        except MeshError as raised:
            error = raised
        except Exception:
            log.exception("defect while answering request %s", self.request_id)
            error = InternalFault("The server had an error while processing your request.")
        else:
            return None
        if not isinstance(error, ClientGone):
            await self._send_error(error)
        return error

    async def _send_error(self, error: MeshError) -> None:
        body = error_body(error)
        if self._streaming:
            await self.end_events(b"data: " + body + b"\n\ndata: [DONE]\n\n")
            return
        retry = () if error.retry_after_s is None else ((b"retry-after", str(error.retry_after_s).encode()),)
        # The rest of a refused body is not worth reading.
        close = ((b"connection", b"close"),) if isinstance(error, BodyTooLarge) else ()
        await self.send_json(error_status(error), body, headers=retry + close)

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, (b"x-request-id", self._echoed_id)]})

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request body is larger than {self._body_bytes_max} bytes.")
