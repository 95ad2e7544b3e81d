"""Bounds what a connection may cost in uvicorn's httptools protocol before a handler sees it.

uvicorn's own class keeps header bytes without limit (64 MB of header cost as much memory, the shape
of CVE-2025-48956), waits for ever for headers to end and for clients that do not read, turns one
read of tiny pipelined requests into thousands of queued ones, and does not tell a running request
that its client has gone when another was pipelined behind it. Bodies need no guard here: uvicorn
stops reading at 64 KiB until the handler asks for more, and the handler holds the cap.

Pass it as `uvicorn.Config(app, http=GuardedHttpToolsProtocol)`. Counterparts: h11's
max_incomplete_event_size, nginx's large_client_header_buffers, client_header_timeout and
lingering_close.
"""

import asyncio
import select
from typing import Any, Final, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from frontend.http.connections import Connections
from frontend.http.cycle import Cycle, fill_in
from frontend.http.direct_writes import offer_direct_writes
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
"""Bounds the requests queued behind a running one: uvicorn stops reading at the first, but one read
can hold 14,000 requests of 18 bytes.
"""

LINGER_BYTES_MAX: Final = 1024 * 1024
LINGER_S_MAX: Final = 1.0
"""Bounds, as LINGER_BYTES_MAX does, what is read and dropped before a connection closes: closing
while bytes are unread makes the kernel send RST, which throws away the answer.
"""

HANGUP_POLL_S: Final = 0.05
"""Is the time between two looks whether a client that pipelined requests has gone; uvicorn reads
nothing then, so it would not see it. Behind a body too large for the kernel's buffer not even this
does: the client's FIN waits until there is room.
"""

_HANGUP: Final = getattr(select, "POLLRDHUP", select.POLLHUP)


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
    _hangup: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._wait = self.loop.call_later(HEADERS_WAIT_S_MAX, self._headers_late)
        self._idle = IdleTimer(
            self.timeout_keep_alive, is_busy=self._is_busy, close=transport.close
        )
        self.server_state.on_connection()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_wait()
        self._idle.end()
        if self._hangup is not None:
            self._hangup.cancel()
        if self._stall is not None:
            self._stall.end()
        super().connection_lost(exc)
        # uvicorn tells only the newest request; behind a pipelined one, the one at work would never
        # hear that its client has gone.
        if self._running is not None and not self._running.response_complete:
            self._running.note_client_gone()
        self._running = None
        if self.server_state.on_gone is not None:
            self.server_state.on_gone()
        if not self.connections:
            self.server_state.on_empty()

    def _start_asgi_task(self, cycle: Cycle, app: ASGI3Application) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._running = cycle
        cycle.keep_alive = cycle.keep_alive and not self.server_state.closing
        if not cycle.keep_alive and cycle.scope["http_version"] == "1.0":
            app = until_close(app, cycle)
        offer_direct_writes(cast("Any", cycle.scope), cycle)
        super()._start_asgi_task(cycle, app)

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

    def _look_for_hangup(self) -> None:
        self._hangup = None
        if not self.pipeline or self.transport.is_closing():
            return
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), _HANGUP)
        if poll.poll(0):
            self.transport.abort()
        else:
            self._hangup = self.loop.call_later(HANGUP_POLL_S, self._look_for_hangup)

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
        super().data_received(data)
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
            if self.pipeline and self._hangup is None:
                self._hangup = self.loop.call_later(HANGUP_POLL_S, self._look_for_hangup)
            return
        # Stops the parser; uvicorn then calls send_400_response, which finds the refusal.
        raise ValueError(self._refusal[1])

    def _begin_cycle(self) -> None:
        """Does what uvicorn does when the headers are there, for a server of HTTP alone."""
        before = self.cycle
        fill_in(self.scope, self.parser, self.url)
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=self.scope["http_version"] != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_message_complete(self) -> None:
        self._in_body = False
        self._header_bytes = 0
        super().on_message_complete()
        if not self.pipeline:
            # Paused for a body that is whole now; what is read next says that the client leaves.
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cast("Cycle", cycle), app)
            return
        self._idle.note_answered()

    def _unset_keepalive_if_required(self) -> None:
        """Does nothing: what is idle has a timer that needs no word of it."""

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
