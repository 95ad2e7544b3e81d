"""Takes the body of one request from its connection and sends its answer, for the ASGI application
between.
"""

import asyncio
import logging
from collections.abc import Callable, MutableMapping, Sequence
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from frontend.http.asgi import Scope
from frontend.http.headers import JSON
from frontend.http.leaving import LEAVING, Leaving, leaving_of
from protocol.error_answers import error_body
from protocol.errors import InternalFault

log = logging.getLogger(__name__)

_CONTROLS: Final = bytes({*range(0x20), 0x7F} - {ord("\t")})
"""Holds the characters that no header has."""

_BODILESS: Final = (204, 304)
_UNDERSTOOD: Final = frozenset((b"content-length", b"transfer-encoding", b"connection"))
"""Names the headers of an answer that say how it is sent; ASGI has names in small letters."""

_COPIED_BYTES_MAX: Final = 64 * 1024
"""Bounds what is copied to leave behind its head: more is worth a system call of its own."""


class Flow(Protocol):
    """A Flow holds back what a connection reads and writes, as uvicorn's FlowControl does."""

    read_paused: bool
    write_paused: bool

    async def drain(self) -> None:
        """Returns once the client has room."""
        ...

    def resume_reading(self) -> None:
        """Lets more be read."""
        ...


def fill_in(scope: MutableMapping[str, Any], parser: Any, url: bytes) -> None:
    """Completes a scope when the headers of its request are there.

    Args:
        parser: of httptools.
        url: as it stands in the first line.
    """
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    scope["method"] = parser.get_method().decode("ascii")
    scope["http_version"] = parser.get_http_version()
    scope["path"] = unquote(path) if "%" in path else path
    scope["raw_path"], scope["query_string"] = parsed.path, parsed.query or b""
    scope[LEAVING] = Leaving()


class Cycle:
    """A Cycle is one request of a connection and its answer, which leaves in one write: a head
    waits for the first piece of its body, as ASGI wants it. In a write of its own it takes a system
    call more of the server, and has the client wake up twice.

    After uvicorn's RequestResponseCycle, of which every attribute and the order of its checks are;
    what is not here is what no server of HTTP alone needs.

    Args:
        default_headers: are put on every answer.
        on_response: called when the answer is complete.
    Attributes:
        task: has the application answer, once it does.
        keep_alive: the connection goes on behind the answer.
        body: what has arrived and was not received.
        more_body: more is to arrive.
    """

    __slots__ = (
        "_default_headers",
        "_expects_continue",
        "_flow",
        "_has_news",
        "_head",
        "_news",
        "_on_response",
        "_transport",
        "body",
        "chunked_encoding",
        "disconnected",
        "expected_content_length",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
        "task",
    )

    def __init__(
        self,
        scope: Scope,
        transport: asyncio.Transport,
        flow: Flow,
        *,
        default_headers: Sequence[tuple[bytes, bytes]],
        expects_continue: bool,
        keep_alive: bool,
        on_response: Callable[[], None],
    ) -> None:
        self.scope = scope
        self.task: asyncio.Task[None] | None = None
        self.keep_alive = keep_alive
        self.disconnected = self.response_started = self.response_complete = False
        self.chunked_encoding: bool | None = None
        self.expected_content_length = 0
        self.body: bytes | bytearray = b""
        self.more_body = True
        self._transport = transport
        self._flow = flow
        self._default_headers = default_headers
        self._expects_continue = expects_continue
        self._on_response = on_response
        self._head = b""
        """Holds the head of an answer until its body begins."""
        self._has_news = False
        self._news: asyncio.Event | None = None
        """Is there from the moment that somebody waits: most bodies are whole before."""

    async def run(self, app: ASGIApp) -> None:
        """Has the application answer."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException:
            log.exception("defect while answering %s", self.scope["path"])
        self._on_response = _nothing  # leads to the connection, which leads here
        if self.disconnected or self.response_complete:
            return
        if self.response_started:
            self._transport.close()
            return
        body = error_body(InternalFault("The server had an error while processing your request."))
        length = (b"content-length", str(len(body)).encode())
        self._begin(500, [JSON, length, (b"connection", b"close")])
        self._send_body(body, more=False)

    def add(self, piece: bytes) -> None:
        """Takes a piece of the body."""
        if not self.body:
            self.body = piece
        else:
            if isinstance(self.body, bytes):
                self.body = bytearray(self.body)
            self.body += piece
        self._tell()

    def end_body(self) -> None:
        """Notes that the body is whole."""
        self.more_body = False
        self._tell()

    def note_client_gone(self) -> None:
        """Ends what is sent, and tells whoever is to know."""
        self.disconnected = True
        self._tell()
        leaving_of(self.scope).note()

    async def receive(self) -> MutableMapping[str, Any]:
        """Returns what arrived since the last call, as ASGI says; waits while that is nothing."""
        if self._expects_continue and not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._expects_continue = False
        if not self.disconnected and not self.response_complete:
            if self._flow.read_paused:
                self._flow.resume_reading()
            if not self._has_news:
                self._news = self._news or asyncio.Event()
                self._news.clear()
                await self._news.wait()
            self._has_news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    def _tell(self) -> None:
        self._has_news = True
        if self._news is not None:
            self._news.set()

    def ready(self) -> bool:
        """Returns whether a chunk can be written now, as DirectWrites says."""
        return (
            self.chunked_encoding is True
            and not self._head
            and not self._flow.write_paused
            and not self.disconnected
            and not self.response_complete
        )

    def write_of(self, piece: bytes) -> Callable[[], None]:
        """Returns the write of a chunk past `send`, which does no more than this with a piece in
        the midst of a body: a message, two layers and a turn of the handler less.
        """
        return partial(self._transport.write, _chunk(piece))

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Takes a message of ASGI; waits while the client's buffer is full."""
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        expected = "http.response.body" if self.response_started else "http.response.start"
        if message["type"] != expected or self.response_complete:
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")
        if self.response_started:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            self._begin(message["status"], message.get("headers", ()))

    def _begin(self, status: int, headers: Any) -> None:
        """Makes the head of an answer.

        Raises:
            RuntimeError: a header would be several, or something else than one.
        """
        lines = [STATUS_LINE[status][:-2]]
        lines += [b"%b: %b" % header for header in (*self._default_headers, *headers)]
        closes = False
        for name, value in headers:
            if name not in _UNDERSTOOD:
                continue
            if name == b"content-length":
                if self.chunked_encoding is None:
                    self.expected_content_length, self.chunked_encoding = int(value), False
            elif name == b"transfer-encoding":
                self.expected_content_length, self.chunked_encoding = 0, True
            elif b"close" in value.lower():
                self.keep_alive, closes = False, True
        if not self.keep_alive and not closes:
            lines.append(b"connection: close")
        if (
            self.chunked_encoding is None
            and status not in _BODILESS
            and self.scope["method"] != "HEAD"
        ):
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked")
        said = b"".join(lines)
        if len(said.translate(None, _CONTROLS)) != len(said):
            raise RuntimeError("invalid HTTP header")
        self._head = b"\r\n".join([*lines, b"\r\n"])
        self.response_started, self._expects_continue = True, False

    def _send_body(self, body: bytes, *, more: bool) -> None:
        """Sends a piece of the body, with the head if it is the first.

        Raises:
            RuntimeError: it is not as long as its head says.
        """
        head, self._head = self._head, b""
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            body = b""
        elif self.chunked_encoding:
            body = _chunk(body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("a body is as long as its content-length")
        if len(body) > _COPIED_BYTES_MAX:
            self._transport.write(head)
            self._transport.write(body)
        elif head or body:
            self._transport.write(head + body)
        if more:
            return
        self.response_complete = True
        self._tell()
        if not self.keep_alive:
            self._transport.close()
        self._on_response()


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _nothing() -> None:
    pass
