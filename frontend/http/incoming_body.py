"""Reads one request's body, JSON or a form: within its cap, no slower than it may come, counted in
the budget of all.
"""

import asyncio
import time
from collections.abc import Callable, MutableMapping, Sequence
from functools import partial
from typing import Any, Final

from frontend.http.asgi import Receive
from frontend.http.body_budget import BodyBudget
from frontend.http.body_forms import BYTE_ORDER_MARK, as_utf8, codec_of, coding_of, unpacked
from frontend.http.cross_site import asked_before, sent_by_page
from frontend.http.forms import FormParser, FormPart, boundary_of
from protocol.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    InvalidRequest,
    MeshError,
    Overloaded,
    UnsupportedMediaType,
)

PROGRESS_BYTES: Final = 64 * 1024
PROGRESS_S_MAX: Final = 10.0
"""Bounds the time in which PROGRESS_BYTES of a body, or its end, arrive, or it is given up: 6.5
KB/s, a third of what the slowest mobile networks carry. Every such piece begins the time anew.
"""


class IncomingBody:
    """An IncomingBody reads one body, and keeps what it took of the budget until `give_back`.

    Attributes:
        refused: what the headers alone are answered with.
        boundary: what separates the parts of a form, if it is one.
        size_bytes, moved_at: as `Arriving`.
        broken_off: the rest of it is not worth reading.
    """

    # What most bodies have stands here, since every request makes one of these.
    refused: MeshError | None = None
    size_bytes = 0
    moved_at = 0.0
    broken_off = False
    boundary: bytes | None = None
    _not_json: UnsupportedMediaType | None = None
    """Says of a body that it is not what most endpoints take."""
    _typed = False
    """Says that the client tells what the body is."""
    _codec: str | None = None
    """Names Python's codec of the body, if it is not UTF-8."""
    _coding: str | None = None
    """Names what the body is compressed with."""
    _cut_off: Callable[[MeshError], None] | None = None
    """Ends the exchange that the body is for. Kept while the body arrives and no longer: each would
    hold the other, and with it the whole request, until garbage is collected.
    """

    def __init__(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        receive: Receive,
        *,
        bytes_max: int,
        budget: BodyBudget,
    ) -> None:
        self._headers = headers
        self._receive = receive
        self._bytes_max = bytes_max
        self._budget = budget

    def note(self, name: bytes, value: bytes) -> None:
        """Takes one of the headers content-length, content-type and content-encoding."""
        try:
            if name == b"content-length":
                if int(value) > self._bytes_max:
                    self.refused = self._too_large()
            elif name == b"content-type":
                self._typed = bool(value)
                self._codec = codec_of(value)
            else:
                self._coding = coding_of(value)
        except UnsupportedMediaType as refusal:
            if name == b"content-type":
                self.boundary, self._not_json = boundary_of(value), refusal
            else:
                self.refused = refusal

    async def read(self, cut_off: Callable[[MeshError], None]) -> bytes | bytearray:
        """Returns the whole body: JSON in UTF-8, if it is text at all, whatever it was sent as.

        Args:
            cut_off: called with the error when the body must make room for others while it arrives.
        Raises:
            UnsupportedMediaType: it is said to be something else than JSON, of an unknown charset
            or compression; or a web page sends it and does not say what it is.
            InvalidRequest: a header makes no sense, or the body is not what its headers say.
            BodyTooLarge: more than the cap, before it is unpacked or then; what is above it is
            never kept.
            BodyTooSlow: it does not arrive.
            Overloaded: the bodies of all clients together are more than the budget.
            ClientGone: the client left before the end.
        """
        if refusal := self.refused or self._not_json:
            raise refusal
        message = await self._receive()
        if not message.get("more_body") and message["type"] == "http.request":
            body: bytes | bytearray = message.get("body", b"")
            self._count(len(body))
        else:
            # not as bytes, which would be a copy of it
            body = bytearray()
            await self._arrived(message, body.extend, cut_off)
        if body and not self._typed and sent_by_page(self._headers):
            raise UnsupportedMediaType(
                "A web page must send its body with the content-type application/json."
            )
        if self._coding is not None:
            body = await self._unpacked(body, self._coding)
        if self._codec is not None:
            text = await self._budget.large.run(partial(as_utf8, body, self._codec))
            self._count(len(text) - len(body))
            return text
        return body[len(BYTE_ORDER_MARK) :] if body.startswith(BYTE_ORDER_MARK) else body

    async def read_form(self, cut_off: Callable[[MeshError], None]) -> list[FormPart]:
        """Returns the parts of a form, which is taken apart while it arrives.

        Args:
            cut_off: as for `read`.
        Raises:
            InvalidRequest: it is no whole form, or beyond the bounds of one.
            UnsupportedMediaType: it is compressed; or a web page sends it that a browser asked
            nobody about.
            MeshError: as `read`.
        """
        if self.refused is not None:
            raise self.refused
        if self._coding is not None:
            raise UnsupportedMediaType("A form must not be compressed.", param="content-encoding")
        if not self.boundary:
            raise InvalidRequest(
                "The content-type multipart/form-data needs a boundary.", param="content-type"
            )
        if sent_by_page(self._headers) and not asked_before(self._headers):
            raise UnsupportedMediaType(
                "A web page must send a form with an authorization header, or JSON."
            )
        form = FormParser(self.boundary)
        await self._arrived(await self._receive(), form.add, cut_off)
        return form.parts()

    def give_up(self) -> None:
        """Gives back all of the body and refuses its request, as `Arriving` has it."""
        self._budget.arriving.discard(self)
        self.broken_off = True
        self.give_back()
        if self._cut_off is not None:
            self._cut_off(self._no_room())

    def add(self, size_bytes: int) -> None:
        """Counts further bytes as held with the body.

        Raises:
            Overloaded: the budget has no room for them.
        """
        self._budget.take(size_bytes)
        self.size_bytes += size_bytes

    def give_back(self, *, all_but_bytes: int = 0) -> None:
        """Counts no more than so much of the body as held from here on."""
        kept = min(self.size_bytes, all_but_bytes)
        self._budget.give(self.size_bytes - kept)
        self.size_bytes = kept

    async def _arrived(
        self,
        message: MutableMapping[str, Any],
        take: Callable[[bytes], None],
        cut_off: Callable[[MeshError], None],
    ) -> None:
        """Gives the body that begins with this message to `take`, piece by piece."""
        self._cut_off = cut_off
        self._budget.arriving.add(self)
        try:
            await self._collected(message, take)
        except TimeoutError:
            self.broken_off = True
            raise BodyTooSlow(
                f"Less than {PROGRESS_BYTES} bytes of the request body arrived within "
                f"{PROGRESS_S_MAX:g} seconds."
            ) from None
        finally:
            self._budget.arriving.discard(self)
            self._cut_off = None

    async def _collected(
        self, message: MutableMapping[str, Any], take: Callable[[bytes], None]
    ) -> None:
        now = asyncio.get_running_loop().time
        fresh_bytes = 0
        async with asyncio.timeout(PROGRESS_S_MAX) as progress:
            while True:
                if message["type"] == "http.disconnect":
                    raise ClientGone("The client left.")
                part = message.get("body", b"")
                self.moved_at = time.monotonic()
                self._count(len(part))
                take(part)
                if not message.get("more_body"):
                    return
                fresh_bytes += len(part)
                if fresh_bytes >= PROGRESS_BYTES:
                    fresh_bytes = 0
                    progress.reschedule(now() + PROGRESS_S_MAX)
                message = await self._receive()

    async def _unpacked(self, packed: bytes | bytearray, coding: str) -> bytearray:
        """Returns what the body is when unpacked, which alone counts from now on."""
        self._count(-len(packed))
        parts = bytearray()
        for piece in unpacked(packed, coding):
            self._count(len(piece))
            parts += piece
            await asyncio.sleep(0)
        return parts

    def _count(self, size_bytes: int) -> None:
        if self.broken_off:
            raise self._no_room()
        if self.size_bytes + size_bytes > self._bytes_max:
            raise self._too_large()
        self._budget.take(size_bytes, self)
        self.size_bytes += size_bytes

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The request body is larger than {self._bytes_max} bytes.")

    def _no_room(self) -> Overloaded:
        return Overloaded("Slow request bodies make room for others. Please retry shortly.")
