"""Tells several watchers of the same thing, none of whom waits for another."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

WATCHERS_MAX: Final = 32
"""Bounds who watches at once: an operator's screens and phones, and a terminal or two. What each
costs is a few hundred microseconds a second, and what is on its way to it.
"""


class Feed:
    """A Feed keeps only the latest news: who reads slowly misses some, and keeps nothing waiting.

    Attributes:
        watchers: how many there are.
    """

    def __init__(self) -> None:
        self.watchers = 0
        self._news = b""
        self._number = 0
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Tells whether nobody else may watch."""
        return self.watchers >= WATCHERS_MAX

    def publish(self, news: bytes) -> None:
        """Tells all watchers."""
        self._news = news
        self._number += 1
        self._wake()

    def close(self) -> None:
        """Lets all watchers go, for good."""
        self._closed = True
        self._wake()

    @contextmanager
    def watched(self) -> Generator["Watch"]:
        """Counts a watcher; ask first whether there is room."""
        self.watchers += 1
        try:
            yield Watch(self, self._number)
        finally:
            self.watchers -= 1

    async def behind(self, number: int) -> tuple[int, bytes] | None:
        """Returns the news behind those of that number, and theirs, once there are any; None once
        the feed is closed.
        """
        while not self._closed:
            if number != self._number:
                return self._number, self._news
            await self._changed.wait()
        return None

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Watch:
    """A Watch is how far one watcher has read."""

    def __init__(self, feed: Feed, number: int) -> None:
        self._feed = feed
        self._number = number

    async def next(self) -> bytes | None:
        """Returns the latest news that it has not been told; None once the feed is closed."""
        behind = await self._feed.behind(self._number)
        if behind is None:
            return None
        self._number, news = behind
        return news
