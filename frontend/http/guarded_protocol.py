"""Bounds what a connection may cost in uvicorn's httptools protocol before a handler sees it.

uvicorn's own class keeps header bytes without limit (64 MB of header cost as much memory, the shape
of CVE-2025-48956) and trailers too, waits for ever for headers to end and for clients that do not
read, turns one read of tiny pipelined requests into thousands of queued ones, and does not tell a
running request that its client has gone when another was pipelined behind it. Bodies are the
handler's: reading stops at uvicorn's 64 KiB until it asks for more.

Pass it as `uvicorn.Config(app, http=GuardedHttpToolsProtocol)`. Counterparts: h11's
max_incomplete_event_size, nginx's large_client_header_buffers, client_header_timeout and
lingering_close.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from frontend.http.connections import Connections
from frontend.http.cycle import Cycle, fill_in
from frontend.http.direct_writes import offer_direct_writes
from frontend.http.hangup import HangupWatch
from frontend.http.idle_timer import IdleTimer
from frontend.http.last_word import LastWord
from frontend.http.request_bounds import (
    BODY_WAIT_S_MAX,
    HEADER_BYTES_MAX,
    HEADERS_MAX,
    HEADERS_WAIT_S_MAX,
    PIPELINED_REQUESTS_MAX,
)
from frontend.http.slow_reader import SlowReader
from frontend.http.until_close import until_close
from frontend.http.upgrades import head_without_upgrade


class GuardedHttpToolsProtocol(HttpToolsProtocol):
    """A GuardedHttpToolsProtocol is an HttpToolsProtocol that answers 400, 408 or 431 with OpenAI's
    error object and closes.

    The happy path pays some attribute checks and an addition per read: timers are armed only where
    headers or bodies come in pieces, where requests are pipelined and where the client's buffer is
    full, and one waits for a connection to be idle.
    """

    app: Any
    parser: Any
    pipeline: Any
    scope: Any
    cycle: Any
    server_state: Connections  # pyright: ignore[reportIncompatibleVariableOverride] - Server sees to it

    _bare_bytes = 0
    """Counts what was read since a request's end, or its head's, or the last bytes of its body."""
    _in_body = _body_begun = False
    _plain_head = b""
    """Is to be read in place of the head of a request that asks for another protocol."""
    _refusal: tuple[int, str, str] | None = None
    _last_word: LastWord | None = None
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
        for ended in (self._hangup, self._stall, self._last_word):
            if ended is not None:
                ended.end()
        # the one at work is another than the newest where requests are pipelined
        for cycle in {self.cycle, self._running}:
            if cycle is not None and not (cycle.response_complete or cycle.disconnected):
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
        """Closes after the requests that are here, or just arriving; at once if there are none."""
        if self._running is not None and not self._running.response_complete:
            self.cycle.keep_alive = False  # the newest, which may be behind the one at work
        elif not self._bare_bytes:
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
        if self._last_word is not None:
            self._last_word.drop(len(data))
            return
        room = HEADER_BYTES_MAX - self._bare_bytes
        if self._in_body or len(data) <= room:
            self._feed(data)
            return
        # A body often follows in the same read: only what may still be header is parsed before the
        # count is judged.
        self._feed(data[:room])
        if not self.transport.is_closing() and self._last_word is None:
            self._feed(data[room:])

    def _feed(self, data: bytes) -> None:
        self._bare_bytes += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._last_word is not None or self.transport.is_closing():
            return
        if self._bare_bytes >= HEADER_BYTES_MAX:
            self._refuse(
                431,
                f"request headers are larger than {HEADER_BYTES_MAX} bytes",
                "headers_too_large",
            )
        elif self._in_body:
            self._await_body()
        elif self._wait is None and self._bare_bytes:
            self._wait = self.loop.call_later(HEADERS_WAIT_S_MAX, self._headers_late)

    def _await_body(self) -> None:
        # behind another request it waits for that one, unread
        if not self._body_begun and self._wait is None and self.cycle is self._running:
            self._wait = self.loop.call_later(BODY_WAIT_S_MAX, self._body_late)

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                data, self._plain_head = self._plain_head + data[upgrade.args[0] :], b""
                self.parser = httptools.HttpRequestParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # it is a trailer
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._plain_head = head_without_upgrade(self.parser, self.url, self.headers)
            return
        self._cancel_wait()
        if len(self.headers) > HEADERS_MAX:
            self._refusal = (431, f"more than {HEADERS_MAX} request headers", "headers_too_large")
        elif len(self.pipeline) >= PIPELINED_REQUESTS_MAX:
            message = f"more than {PIPELINED_REQUESTS_MAX} requests wait for the one before"
            self._refusal = (400, message, "too_many_pipelined_requests")
        if self._refusal is not None:
            # stops the parser; send_400_response, which is called then, finds the refusal
            raise ValueError(self._refusal[1])
        self._in_body, self._body_begun, self._bare_bytes = True, False, 0
        self._begin_cycle()

    def _begin_cycle(self) -> None:
        before, scope = self.cycle, self.scope
        fill_in(scope, self.parser, self.url)
        cycle = self.cycle = Cycle(
            scope,
            self.transport,
            self.flow,
            default_headers=self.server_state.default_headers,
            expects_continue=self.expect_100_continue and scope["http_version"] != "1.0",
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
        self._body_begun, self._bare_bytes = True, 0
        if cycle.response_complete:
            return
        self._cancel_wait()
        cycle.add(body)
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        if self._plain_head:
            return
        self._in_body = False
        self._bare_bytes = 0
        self._cancel_wait()
        if self.cycle.response_complete:
            self._idle.note_answered()
        else:
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
            if self._in_body:
                self._await_body()
            return
        if self._last_word is not None:
            self._last_word.say()
            return
        self._idle.note_answered()
        if self._in_body:  # nobody reads the rest of it
            self._cancel_wait()
            self._wait = self.loop.call_later(BODY_WAIT_S_MAX, self.transport.close)

    def _is_busy(self) -> bool:
        return bool(self._bare_bytes) or self._in_body or not self.cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        self._refuse(*(self._refusal or (400, msg, "invalid_http_request")))

    def _headers_late(self) -> None:
        self._wait = None
        if self._bare_bytes:
            self._refuse(
                408, f"request headers took longer than {HEADERS_WAIT_S_MAX:g} s", "headers_timeout"
            )
        else:
            self.transport.close()

    def _body_late(self) -> None:
        self._wait = None
        self._refuse(
            408, f"no byte of the request body came within {BODY_WAIT_S_MAX:g} s", "body_timeout"
        )

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answers and closes, behind the answers to whole requests that came before; only closes
        where the answer to the refused one is under way, since nothing may be put in between.
        """
        self._cancel_wait()
        self._last_word = LastWord(self.transport, status, message, code)
        running = self._running
        if running is None or running.response_complete:
            self._last_word.say()
        elif self._in_body and running is not self.cycle:
            self.pipeline.popleft()
        elif self._in_body and running.response_started:
            self.transport.close()
        elif self._in_body:
            running.note_client_gone()  # what its handler answers is not sent
            self._last_word.say()

    def _cancel_wait(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
