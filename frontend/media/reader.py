"""The media that a request names are read, and checked by their first bytes."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Final, Protocol

from frontend.media.bounds import MediaBounds
from frontend.media.data_urls import data_of, is_data_url, too_large
from frontend.media.headers import read_header
from frontend.media.part import MediaItem, MediaSource
from protocol.errors import InvalidRequest
from protocol.media import PromptMedia

LARGE_BYTES: Final = 2**20
"""Is what the media of a request have together, as sent, from which on they are read in the thread
for large ones: a megabyte takes some 5 ms, and small pictures need not wait for 40 of them.
"""

Note = Callable[[str, Sequence[PromptMedia]], None]
"""A Note is told of the media of a prompt that was made, with the model that it is for."""


class Fetch(Protocol):
    """A Fetch gets what lies behind a URL."""

    async def fetch(self, source: MediaSource) -> bytes:
        """Returns the bytes; raises InvalidRequest where they cannot be had."""
        ...


class Room:
    """Room counts the bytes that the media of one request may still have, each where it comes into
    being: what is fetched before it is kept, what a data URL holds when it is decoded.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._left = bytes_max

    def take(self, data: bytes, source: MediaSource) -> None:
        """Counts a medium as often as it is named, since a worker is sent it as often.

        Raises:
            InvalidRequest: it is too much with those before it.
        """
        self._left -= len(data)
        if self._left < 0:
            raise InvalidRequest(
                "The images and other media of a request have at most "
                f"{self._bytes_max} bytes together.",
                param=source.param,
            )


class MediaReader:
    """A MediaReader reads the media of requests.

    Args:
        fetcher: gets what is not in the request itself; None if nothing is fetched.
        note: told of the media of each prompt that was made, with the model that it is for.
    """

    def __init__(
        self,
        bounds: MediaBounds,
        fetcher: Fetch | None = None,
        note: Note | None = None,
    ) -> None:
        self.note = note or _note_nothing
        self._bounds = bounds
        self._fetcher = fetcher
        # One thread each: more would only take the interpreter from each other, and from the loop,
        # which got it only every sixth time with the threads that asyncio has. What waits for them
        # is bounded as bodies are (frontend/http/body_budget.py).
        self._small, self._large = (
            ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("media", "large-media")
        )

    async def read(
        self, sources: Sequence[MediaSource], hold: Callable[[int], None]
    ) -> list[MediaItem]:
        """Returns what the sources name, in their order.

        Args:
            hold: counts bytes that the request's body had not, before they are kept.
        Raises:
            InvalidRequest: naming the first that cannot be read, is damaged or too large.
            Overloaded: there is no room for what was fetched.
        """
        if len(sources) > self._bounds.items_max:
            raise InvalidRequest(
                f"A request has at most {self._bounds.items_max} images and other media, got "
                f"{len(sources)}.",
                param=sources[self._bounds.items_max].param,
            )
        lasting = [source for source in sources if source.modality != "image"]
        if len(lasting) > self._bounds.long_items_max:
            raise InvalidRequest(
                f"A request has at most {self._bounds.long_items_max} videos and sounds.",
                param=lasting[self._bounds.long_items_max].param,
            )
        far: dict[str, list[MediaSource]] = {}
        for source in sources:
            if source.data is None and not is_data_url(source.url):
                far.setdefault(source.url, []).append(source)
        room = Room(self._bounds.request_bytes_max)
        fetched = await self._fetch(far, room, hold) if far else {}
        size_bytes = sum(
            len(source.data or fetched.get(source.url, source.url)) for source in sources
        )
        pool = self._small if size_bytes < LARGE_BYTES else self._large
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, self._read, sources, fetched, room)

    async def _fetch(
        self, far: Mapping[str, list[MediaSource]], room: Room, hold: Callable[[int], None]
    ) -> dict[str, bytes]:
        """Returns what is behind each URL; as soon as one fails, or they are too much together, no
        other is waited for.
        """
        places = asyncio.Semaphore(self._bounds.fetches_of_one_max)

        async def fetch(named: list[MediaSource]) -> bytes:
            async with places:
                data = await self._fetch_one(named[0])
            for source in named:
                room.take(data, source)
            hold(len(data))
            return data

        fetching = [asyncio.ensure_future(fetch(named)) for named in far.values()]
        try:
            found = await asyncio.gather(*fetching)
        finally:
            for each in fetching:
                each.cancel()
        return dict(zip(far, found, strict=True))

    async def _fetch_one(self, source: MediaSource) -> bytes:
        if self._fetcher is None:
            raise InvalidRequest(
                "This server fetches nothing from the net: send a data URL "
                "(data:image/png;base64,…).",
                param=source.param,
            )
        return await self._fetcher.fetch(source)

    def _read(
        self, sources: Sequence[MediaSource], fetched: Mapping[str, bytes], room: Room
    ) -> list[MediaItem]:
        items: list[MediaItem] = []
        for source in sources:
            data = fetched.get(source.url)
            if data is None:
                data = self._brought(source)
                room.take(data, source)
            items.append(self._item(source, data))
        return items

    def _brought(self, source: MediaSource) -> bytes:
        """Returns what the request itself brings."""
        bytes_max = self._bounds.item_bytes_max
        if source.data is None:
            return data_of(source.url, bytes_max, source.param)
        if len(source.data) > bytes_max:
            raise too_large(bytes_max, source.param)
        return source.data

    def _item(self, source: MediaSource, data: bytes) -> MediaItem:
        form, width, height = read_header(data, source, pixels_max=self._bounds.pixels_max)
        digest = int.from_bytes(sha256(data).digest()[:8], "big") & (2**63 - 1) or 1
        return MediaItem(source.modality, data, width, height, form, digest, source.param)


def _note_nothing(_model: str, _media: Sequence[PromptMedia]) -> None:
    pass
