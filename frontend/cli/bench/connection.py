"""A connection to a server asks one thing after the other, and hands over what comes at once."""

import asyncio
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpResponseParser

from frontend.cli.bench.server import Server

Taker = Callable[[int, bytes], None]
"""A Taker is given the status of an answer and the next bytes of its body."""


class BrokenOff(Exception):
    """A BrokenOff says why an answer has no end."""


class Connection(asyncio.Protocol):
    """A Connection is one of HTTP/1.1, of which each answer goes to who asked.

    It is no library's client because those take tens of microseconds of every chunk that arrives,
    which is what is to be measured.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._ended: asyncio.Future[int] | None = None
        self._take: Taker = _drop
        self._status = 0
        self._keeps = True
        self._has_length = False

    @classmethod
    async def to(cls, server: Server) -> "Connection":
        """Returns a new connection.

        Raises:
            OSError: nobody is there.
        """
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, server.host, server.port, ssl=server.tls)
        return connection

    @property
    def usable(self) -> bool:
        """Tells whether it can be asked the next thing."""
        return self._transport is not None and self._keeps and not self._transport.is_closing()

    async def ask(self, request: bytes, take: Taker) -> int:
        """Sends a request, gives `take` its answer piece by piece, and returns the status.

        Raises:
            BrokenOff: the answer has no end, or is no HTTP.
        """
        assert self._transport is not None
        self._take = take
        self._ended = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._ended
        finally:
            if not self._ended.done() or self._ended.cancelled():
                self.close()  # what is left of the answer is nobody's
            self._ended, self._take = None, _drop

    def close(self) -> None:
        """Closes it; nothing comes any more."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Is told by the loop that it stands."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Is told by the loop what arrived."""
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(f"no HTTP: {error}")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Is told by the loop that it has ended."""
        self._keeps = False
        if self._status and not self._has_length and exc is None:
            self.on_message_complete()  # such an answer ends with its connection
        self._fail("the answer broke off" if self._status else "closed without an answer")

    def on_message_begin(self) -> None:
        """Is told by the parser that an answer begins."""
        self._has_length = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Is told a header by the parser."""
        lower = name.lower()
        if lower in (b"content-length", b"transfer-encoding"):
            self._has_length = True
        elif lower == b"connection" and value.lower() == b"close":
            self._keeps = False

    def on_headers_complete(self) -> None:
        """Is told by the parser that the body follows."""
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Is told the next bytes of a body by the parser."""
        self._take(self._status, body)

    def on_message_complete(self) -> None:
        """Is told by the parser that an answer has ended."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(self._status)
        self._status = 0

    def _fail(self, why: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(BrokenOff(why))


def _drop(_: int, __: bytes) -> None:
    """Takes what nobody asked for."""
