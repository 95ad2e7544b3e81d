"""Remembers the token ids of text seen before, which keeps a growing chat from being tokenized from
its beginning at every turn.
"""

from collections.abc import Sequence
from sys import getsizeof
from typing import Final

from frontend.text.tokenizing.segments import SEGMENT_CHARS_MIN

TEXT_CHARS_MAX: Final = 1_000_000
"""Bounds the texts that are looked up: hashing takes the event loop 0.5 ms a million characters."""

_ENTRY_BYTES: Final = 160
"""Is what a key's tuple and its place in the dict take."""


class SegmentCache:
    """A SegmentCache maps a segment of text to its packed ids, for all models of a process.

    The least recently used goes first. Belongs to one thread.

    Keys are the texts themselves, compared whole, so no collision can give a client another one's
    tokens. That doubles the memory: 32 MiB hold some 3 million tokens of English.

    Attributes:
        bytes_max: bound on keys, ids and overhead together; 0 keeps nothing.
        bytes_held: the sum of them.
        hits, misses: texts of which a segment was found, and of which none was.
        cached_tokens, uncached_tokens: tokens of these texts that were found, and that were not.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_held = 0
        self.hits = self.misses = self.cached_tokens = self.uncached_tokens = 0
        self._held: dict[tuple[int, str], tuple[bytes, int]] = {}
        """Maps (owner, segment) to ids and what the entry takes."""
        self._owners = 0

    def new_owner(self) -> int:
        """Returns a number for one tokenizer's segments."""
        self._owners += 1
        return self._owners

    def takes(self, text: str) -> bool:
        """Returns whether the lookup of a text is worth its time."""
        return SEGMENT_CHARS_MIN < len(text) <= TEXT_CHARS_MAX and self.bytes_max > 0

    def find(self, owner: int, segments: Sequence[str]) -> list[bytes | None]:
        """Returns the ids of each segment, or None."""
        held = self._held
        found: list[bytes | None] = []
        for segment in segments:
            key = (owner, segment)
            entry = held.pop(key, None)
            if entry is not None:
                held[key] = entry  # the youngest again
            found.append(entry and entry[0])
        return found

    def keep(self, owner: int, segment: str, ids: bytes) -> None:
        """Remembers a segment; the oldest make room for it."""
        # A text that was encoded keeps its UTF-8 beside it from then on; getsizeof counts that.
        key, size = (owner, segment), getsizeof(segment) + getsizeof(ids) + _ENTRY_BYTES
        if size > self.bytes_max or key in self._held:
            return
        self._held[key] = ids, size
        self.bytes_held += size
        while self.bytes_held > self.bytes_max:
            _, size = self._held.pop(next(iter(self._held)))
            self.bytes_held -= size

    def count(self, *, cached_tokens: int, uncached_tokens: int) -> None:
        """Counts one text that was looked up."""
        if cached_tokens:
            self.hits += 1
        else:
            self.misses += 1
        self.cached_tokens += cached_tokens
        self.uncached_tokens += uncached_tokens
