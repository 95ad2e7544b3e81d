"""What a client is sent: one JSON body, a body in pieces, or a stream of events."""

from collections.abc import Sequence
from typing import Final

from frontend.http import request_id
from frontend.http.asgi import Send
from frontend.http.direct_writes import DirectWrites, WriteOf
from frontend.http.headers import EVENTS, JSON
from frontend.http.ignored import Ignored

SENDING: Final = -1
"""Stands in `silent_ticks` in place of a number: a send is under way, or none may come any more."""

Headers = Sequence[tuple[bytes, bytes]]

_JSON: Final = (JSON,)


class Sending:
    """A Sending sends the one answer of a request.

    Args:
        ignored: what of the request is left aside, which the answer's header names.
        direct: writes what need not wait; None where the server has no such thing.
    Attributes:
        echoed_id: goes out with the answer, as the name of the request.
        trace_header: goes out with it, if there is one.
        status: the answer's, once it has started.
        silent_ticks: of the timer of comments, since the last event; or SENDING.
    """

    __slots__ = (
        "_send",
        "between_events",
        "direct",
        "echoed_id",
        "ignored",
        "silent_ticks",
        "started",
        "status",
        "trace_header",
    )

    def __init__(self, send: Send, ignored: Ignored, direct: DirectWrites | None = None) -> None:
        self._send = send
        self.direct = direct
        self.ignored = ignored
        self.echoed_id = b""
        self.trace_header: tuple[bytes, bytes] | None = None
        self.status = self.silent_ticks = 0
        self.started = False
        """Says that the start of an answer has gone out: there is no other."""
        self.between_events = False
        """Says that the answer is a stream of events that has not ended, nor is in the midst of
        one.
        """

    async def send_json(
        self, status: int, body: bytes | bytearray, *, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        """Answers with one JSON body."""
        length = (b"content-length", str(len(body)).encode())
        await self._start(status, [JSON, length, *headers])
        await self._send({"type": "http.response.body", "body": body})

    async def send_nothing(self, headers: Headers, *, status: int = 204) -> None:
        """Answers with these headers alone."""
        await self._start(status, headers)
        await self._send({"type": "http.response.body", "body": b""})

    async def send_slice(
        self, piece: bytes, *, more: bool = True, status: int = 200, headers: Headers = _JSON
    ) -> None:
        """Sends a part of a body that is not made in one turn of the loop; waits for who reads
        slowly. The first one begins the answer with this status and these headers.
        """
        if not self.started:
            await self._start(status, headers)
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    async def send_events(self, events: bytes) -> None:
        """Sends one or more complete SSE events, or the rest of one; the first call starts the
        200.
        """
        self.silent_ticks = SENDING
        await self._start_events()
        await self._send({"type": "http.response.body", "body": events, "more_body": True})
        self.silent_ticks = 0

    def at_once(self) -> WriteOf | None:
        """Returns what makes the write of complete events, which `send_events` would send; None
        unless the stream has begun, nothing else is being sent, and the client reads.

        Both calls belong to the same turn of the loop.
        """
        direct = self.direct
        if (
            direct is None
            or not self.between_events
            or self.silent_ticks == SENDING
            or not direct.ready()
        ):
            return None
        self.silent_ticks = 0
        return direct.write_of

    async def send_event_part(self, part: bytes) -> None:
        """Sends a part of an event that is never whole in memory, whose rest must follow by
        `send_events` or `end_events`.

        Nothing comes in between: no comment, and of a failure the client learns by its connection,
        which is cut.
        """
        self.silent_ticks = SENDING
        await self._start_events()
        self.between_events = False
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def end_events(self, events: bytes) -> None:
        """Sends the last events and ends the stream."""
        self.silent_ticks = SENDING
        await self._start_events()
        await self._send({"type": "http.response.body", "body": events})
        self.between_events = False

    async def _start_events(self) -> None:
        if not self.started:
            await self._start(200, EVENTS)
        self.between_events = True

    async def _start(self, status: int, headers: Headers) -> None:
        self.silent_ticks = SENDING
        headers = [*headers, (request_id.HEADER, self.echoed_id)]
        if self.ignored.names:
            headers.append(self.ignored.header)
        if self.trace_header is not None:
            headers.append(self.trace_header)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        self.started, self.status = True, status
