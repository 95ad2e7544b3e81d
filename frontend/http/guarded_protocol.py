"""uvicorn's httptools protocol with bounds on what a connection may cost before a handler sees it.

uvicorn's own class keeps header bytes without limit (64 MB of header cost as much memory, the shape of CVE-2025-48956), waits
for ever for headers to end, turns one read of tiny pipelined requests into thousands of queued ones, and does not tell a running
request that its client has gone when another was pipelined behind it. Bodies need no guard
here: uvicorn stops reading at 64 KiB until the handler asks for more, and the handler holds the cap.

Pass it as `uvicorn.Config(app, http=GuardedHttpToolsProtocol)`. Counterparts: h11's max_incomplete_event_size, nginx's
large_client_header_buffers, client_header_timeout and lingering_close.
"""

import asyncio
import http
import json
from typing import Final

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEADER_BYTES_MAX: Final = 64 * 1024
"""Request line and headers together. Browsers and proxies stop at 8 to 16 KB; trace context and cookies fit many times over.
A header that begins behind another request in the same read is counted from the next read on, so it may be one read (256 KB) longer."""

HEADERS_MAX: Final = 256
"""Header lines; 64 KB could hold 16,000 of them, and whoever reads a scope walks them all."""

HEADERS_WAIT_S_MAX: Final = 20.0
"""From a connection's start, or a request's first byte, to the end of its headers. A slow phone needs 2 s; a slowloris, for ever."""

PIPELINED_REQUESTS_MAX: Final = 64
"""Requests queued behind a running one. uvicorn stops reading at the first, but one read can hold 14,000 requests of 18 bytes."""

LINGER_BYTES_MAX: Final = 1024 * 1024
LINGER_S_MAX: Final = 1.0
"""Closing while bytes are unread makes the kernel send RST, which throws away the answer; so this much is read and dropped first."""


class GuardedHttpToolsProtocol(HttpToolsProtocol):
    """HttpToolsProtocol that answers 400, 408 or 431 with OpenAI's error object and closes.

    The happy path pays two attribute checks and one addition per read: a timer is armed only where headers come in pieces.
    """

    _header_bytes = 0
    _in_body = False
    _refusal: tuple[int, str, str] | None = None
    _linger_bytes_left = 0
    _wait: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._wait = self.loop.call_later(HEADERS_WAIT_S_MAX, self._headers_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_wait()
        super().connection_lost(exc)
        # uvicorn tells only the newest request; behind a pipelined one, the one at work would never hear that its client has gone.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self._running = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        if self._linger_bytes_left:
            self._drop(len(data))
            return
        room = HEADER_BYTES_MAX - self._header_bytes
        if self._in_body or len(data) <= room:
            self._feed(data)
            return
        # A body often follows in the same read: only what may still be header is parsed before the count is judged.
        self._feed(data[:room])
        if not self.transport.is_closing() and not self._linger_bytes_left:
            self._feed(data[room:])

    def _feed(self, data: bytes) -> None:
        if not self._in_body:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_body or not self._header_bytes or self._linger_bytes_left or self.transport.is_closing():
            return
        if self._header_bytes >= HEADER_BYTES_MAX:
            self._refuse(431, f"request headers are larger than {HEADER_BYTES_MAX} bytes", "headers_too_large")
        elif self._wait is None:
            self._wait = self.loop.call_later(HEADERS_WAIT_S_MAX, self._headers_late)

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._cancel_wait()
        if len(self.headers) > HEADERS_MAX:
            self._refusal = (431, f"more than {HEADERS_MAX} request headers", "headers_too_large")
        elif len(self.pipeline) >= PIPELINED_REQUESTS_MAX:
            self._refusal = (400, f"more than {PIPELINED_REQUESTS_MAX} requests pipelined", "too_many_pipelined_requests")
        else:
            super().on_headers_complete()
            return
        # Stops the parser; uvicorn then calls send_400_response, which finds the refusal.
        raise ValueError(self._refusal[1])

    def on_message_complete(self) -> None:
        self._in_body = False
        self._header_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(*(self._refusal or (400, msg, "invalid_http_request")))

    def _headers_late(self) -> None:
        self._wait = None
        if self._header_bytes:
            self._refuse(408, f"request headers took longer than {HEADERS_WAIT_S_MAX:g} s", "headers_timeout")
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answer and close; where another request's answer is under way nothing may be put in between, so only close."""
        self._cancel_wait()
        self._unset_keepalive_if_required()
        if self._running is not None and not self._running.response_complete:
            self.transport.close()
            return
        body = json.dumps({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}).encode()
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        if not self.transport.can_write_eof():  # TLS
            self.transport.close()
            return
        self.transport.write_eof()
        self._linger_bytes_left = LINGER_BYTES_MAX
        self._wait = self.loop.call_later(LINGER_S_MAX, self.transport.close)

    def _drop(self, byte_count: int) -> None:
        self._linger_bytes_left -= byte_count
        if self._linger_bytes_left <= 0:
            self._linger_bytes_left = 1  # stay in this state: asyncio may hand over one more read after close()
            self.transport.close()

    def _cancel_wait(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
