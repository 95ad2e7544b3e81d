"""Takes the body of one request from its connection and sends its answer, for the ASGI application
between.
"""

import re
from collections.abc import MutableMapping
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from frontend.http.leaving import LEAVING, Leaving

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
_BODILESS: Final = (204, 304)

_COPIED_BYTES_MAX: Final = 64 * 1024
"""Bounds what is copied to leave behind its head: more is worth a system call of its own."""


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


class Cycle(RequestResponseCycle):
    """A Cycle is uvicorn's, whose answers leave in one write: a head waits for the first piece of
    its body, as ASGI wants it. In a write of its own it takes a system call more of the server, and
    has the client wake up twice.
    """

    _head = b""
    """Holds the head of an answer until its body begins."""

    def ready(self) -> bool:
        """Returns whether a chunk can be written now, as DirectWrites says."""
        return (
            self.chunked_encoding is True
            and not self._head
            and not self.flow.write_paused
            and not self.disconnected
            and not self.response_complete
        )

    def write(self, piece: bytes) -> None:
        """Writes a chunk past `send`, which does no more than this with a piece in the midst of a
        body: a message, two layers and a turn of the handler less.
        """
        self.transport.write(_chunk(piece))

    def note_client_gone(self) -> None:
        """Ends what is sent, and tells whoever is to know."""
        self.disconnected = True
        self.message_event.set()
        leaving: Leaving = cast("dict[str, Any]", self.scope)[LEAVING]
        leaving.note()

    async def send(self, message: MutableMapping[str, Any]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Takes a message of ASGI; waits while the client's buffer is full."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
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
        closes = False
        for name, value in [*self.default_headers, *headers]:
            name = name.lower()  # noqa: PLW2901 - as it is sent
            if name == b"content-length":
                if self.chunked_encoding is None:
                    self.expected_content_length, self.chunked_encoding = int(value), False
            elif name == b"transfer-encoding":
                self.expected_content_length, self.chunked_encoding = 0, True
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive, closes = False, True
            lines.append(name + b": " + value)
        if not self.keep_alive and not closes:
            lines.append(b"connection: close")
        if (
            self.chunked_encoding is None
            and status not in _BODILESS
            and self.scope["method"] != "HEAD"
        ):
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked")
        head = b"\r\n".join(lines)
        breaks = len(lines) - 1
        if head.count(b"\r") != breaks or head.count(b"\n") != breaks or _CONTROL(head):
            raise RuntimeError("invalid HTTP header")
        self._head = head + b"\r\n\r\n"
        self.response_started, self.waiting_for_100_continue = True, False

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
            self.transport.write(head)
            self.transport.write(body)
        elif head or body:
            self.transport.write(head + body)
        if more:
            return
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)
