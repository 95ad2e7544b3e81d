"""Bounds what a connection may cost in uvicorn's httptools protocol before a handler sees it.

uvicorn's own class keeps header bytes without limit (64 MB of header cost as much memory, the shape
of CVE-2025-48956), waits for ever for headers to end and for clients that do not read, turns one
read of tiny pipelined requests into thousands of queued ones, and does not tell a running request
that its client has gone when another was pipelined behind it. Bodies need no guard here: reading
stops at uvicorn's 64 KiB until the handler asks for more, and the handler holds the cap.

Pass it as `uvicorn.Config(app, http=GuardedHttpToolsProtocol)`. Counterparts: h11's
max_incomplete_event_size, nginx's large_client_header_buffers, client_header_timeout and
lingering_close.
"""

import asyncio
from typing import Any, Final

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from frontend.http.connections import Connections
from frontend.http.cycle import Cycle, fill_in
from frontend.http.direct_writes import offer_direct_writes
from frontend.http.hangup import HangupWatch
from frontend.http.idle_timer import IdleTimer
from frontend.http.refused import refused
from frontend.http.slow_reader import SlowReader
from frontend.http.until_close import until_close

HEADER_BYTES_MAX: Final = 64 * 1024
"""Bounds the request line and headers together.

Browsers and proxies stop at 8 to 16 KB; trace context and cookies fit many times over. A header
that begins behind another request in the same read is counted from the next read on, so it may be
one read (256 KB) longer.
"""

HEADERS_MAX: Final = 256
"""Bounds the header lines; 64 KB could hold 16,000 of them, and whoever reads a scope walks them
all.
"""

HEADERS_WAIT_S_MAX: Final = 20.0
"""Bounds the time from a connection's start, or a request's first byte, to the end of its headers.

A slow phone needs 2 s; a slowloris, for ever.
"""

PIPELINED_REQUESTS_MAX: Final = 64
"""Bounds the requests queued behind a running one: reading stops at the first, but one read
can hold 14,000 requests of 18 bytes.
"""

LINGER_BYTES_MAX: Final = 1024 * 1024
LINGER_S_MAX: Final = 1.0
"""Bounds, as LINGER_BYTES_MAX does, what is read and dropped before a connection closes: closing
while bytes are unread makes the kernel send RST, which throws away the answer.
"""


class GuardedHttpToolsProtocol(HttpToolsProtocol):
    """A GuardedHttpToolsProtocol is an HttpToolsProtocol that answers 400, 408 or 431 with OpenAI's
    error object and closes.

    The happy path pays two attribute checks and one addition per read: timers are armed only where
    headers come in pieces, where requests are pipelined and where the client's buffer is full, and
    one waits for a connection to be idle, which looks back when it is due instead of beginning anew
    with each request.
    """

    app: Any
    parser: Any
    pipeline: Any
    scope: Any
    cycle: Any
    server_state: Connections  # pyright: ignore[reportIncompatibleVariableOverride] - Server sees to it

    _header_bytes = 0
    _in_body = False
    _refusal: tuple[int, str, str] | None = None
    _linger_bytes_left = 0
    _wait: asyncio.TimerHandle | None = None
    _running: Cycle | None = None
    _idle: IdleTimer
    _stall: SlowReader | None = None
    _hangup: HangupWatch | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._wait = self.loop.call_later(HEADERS_WAIT_S_MAX, self._headers_late)
        self._idle = IdleTimer(
            self.timeout_keep_alive, is_busy=self._is_busy, close=transport.close
        )
        self.server_state.on_connection()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self._cancel_wait()
        self._idle.end()
        if self._hangup is not None:
            self._hangup.end()
        if self._stall is not None:
            self._stall.end()
        # the one at work is another than the newest where requests are pipelined
        for cycle in {self.cycle, self._running}:
            if cycle is not None and not cycle.response_complete:
                cycle.note_client_gone()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self._running = self.parser = None
        if self.server_state.on_gone is not None:
            self.server_state.on_gone()
        if not self.connections:
            self.server_state.on_empty()

    def _start(self, cycle: Cycle) -> None:
        self._running = cycle
        app, scope = self.app, cycle.scope
        if self.server_state.closing:
            cycle.keep_alive = False
        if not cycle.keep_alive and scope["http_version"] == "1.0":
            app = until_close(app, cycle)
        offer_direct_writes(scope, cycle)
        cycle.task = self.loop.create_task(cycle.run(app))

    def close_when_idle(self) -> None:
        """Closes after the requests that are here; at once if there are none.

        One that is just arriving is waited for.
        """
        if self._running is not None and not self._running.response_complete:
            self.cycle.keep_alive = False  # the newest, which may be behind the one at work
        elif not self._header_bytes:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = SlowReader(self.transport, self.server_state.on_slow_reader)

    def resume_writing(self) -> None:
        if self._stall is not None:
            self._stall.end()
            self._stall = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._linger_bytes_left:
            self._drop(len(data))
            return
        room = HEADER_BYTES_MAX - self._header_bytes
        if self._in_body or len(data) <= room:
            self._feed(data)
            return
        # A body often follows in the same read: only what may still be header is parsed before the
        # count is judged.
        self._feed(data[:room])
        if not self.transport.is_closing() and not self._linger_bytes_left:
            self._feed(data[room:])

    def _feed(self, data: bytes) -> None:
        if not self._in_body:
            self._header_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        except httptools.HttpParserUpgrade:
            self._unsupported_upgrade_warning()
        if (
            self._in_body
            or not self._header_bytes
            or self._linger_bytes_left
            or self.transport.is_closing()
        ):
            return
        if self._header_bytes >= HEADER_BYTES_MAX:
            self._refuse(
                431,
                f"request headers are larger than {HEADER_BYTES_MAX} bytes",
                "headers_too_large",
            )
        elif self._wait is None:
            self._wait = self.loop.call_later(HEADERS_WAIT_S_MAX, self._headers_late)

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._cancel_wait()
        if len(self.headers) > HEADERS_MAX:
            self._refusal = (431, f"more than {HEADERS_MAX} request headers", "headers_too_large")
        elif len(self.pipeline) >= PIPELINED_REQUESTS_MAX:
            self._refusal = (
                400,
                f"more than {PIPELINED_REQUESTS_MAX} requests pipelined",
                "too_many_pipelined_requests",
            )
        else:
            self._begin_cycle()
            return
        # stops the parser; send_400_response, which is called then, finds the refusal
        raise ValueError(self._refusal[1])

    def _begin_cycle(self) -> None:
        before, scope = self.cycle, self.scope
        fill_in(scope, self.parser, self.url)
        cycle = self.cycle = Cycle(
            scope,
            self.transport,
            self.flow,
            default_headers=self.server_state.default_headers,
            expects_continue=self.expect_100_continue,
            keep_alive=scope["http_version"] != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start(cycle)
            return
        self.flow.pause_reading()
        self.pipeline.appendleft(cycle)
        if self._hangup is None:
            self._hangup = HangupWatch(self.transport, lambda: bool(self.pipeline))
        self._hangup.begin()

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.add(body)
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._header_bytes = 0
        if not self.cycle.response_complete:
            self.cycle.end_body()
        if self.flow.read_paused and not self.pipeline:
            # for a body that is whole now; what is read next says that the client leaves
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start(self.pipeline.pop())
            return
        self._idle.note_answered()

    def _is_busy(self) -> bool:
        return bool(self._header_bytes) or self._in_body or not self.cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        self._refuse(*(self._refusal or (400, msg, "invalid_http_request")))

    def _headers_late(self) -> None:
        self._wait = None
        if self._header_bytes:
            self._refuse(
                408, f"request headers took longer than {HEADERS_WAIT_S_MAX:g} s", "headers_timeout"
            )
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answers and closes; where another request's answer is under way nothing may be put in
        between, so only closes.
        """
        self._cancel_wait()
        if self._running is not None and not self._running.response_complete:
            self.transport.close()
            return
        self.transport.write(refused(status, message, code))
        if not self.transport.can_write_eof():  # TLS
            self.transport.close()
            return
        self.transport.write_eof()
        self._linger_bytes_left = LINGER_BYTES_MAX
        self._wait = self.loop.call_later(LINGER_S_MAX, self.transport.close)

    def _drop(self, byte_count: int) -> None:
        self._linger_bytes_left -= byte_count
        if self._linger_bytes_left <= 0:
            # stay in this state: asyncio may hand over one more read after close()
            self._linger_bytes_left = 1
            self.transport.close()

    def _cancel_wait(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
