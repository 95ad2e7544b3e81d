"""Remembers the token ids of text seen before, which keeps a growing chat from being tokenized from
its beginning at every turn.
"""

from array import array
from collections.abc import Sequence
from sys import getsizeof
from typing import Final

from frontend.text.tokenizing.segments import SEGMENT_CHARS_MIN

TEXT_CHARS_MAX: Final = 1_000_000
"""Bounds the texts that are looked up: hashing takes the event loop 0.5 ms a million characters."""

_ENTRY_BYTES: Final = 160
"""Is what a key's tuple and its place in the dict take."""

_SIGHTS: Final = 2**15
"""Bounds the segments that are known to have come once, 16 bytes each: those of the last 10,000
turns of chats. A newer one takes an older one's place.
"""

_REACH: Final = 2
"""Is after how many times the cache's size of other segments that came once one is forgotten: what
comes again later still would have to stay for longer than the cache is likely to hold it.
"""


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
        self._sights = array("q", bytes(8 * _SIGHTS))
        """Has hashes of segments that came once, each at its remainder."""
        self._seen_at = array("q", bytes(8 * _SIGHTS))
        self._bytes_seen = 0
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

    def keep(self, owner: int, segment: str, ids: bytes, *, at_once: bool = True) -> None:
        """Remembers a segment; the oldest make room for it.

        Args:
            at_once: whether it is worth its memory now; else it is from the second time on, so
            that prompts which come once neither take memory nor push chats out.
        """
        # A text that was encoded keeps its UTF-8 beside it from then on; getsizeof counts that.
        key, size = (owner, segment), getsizeof(segment) + getsizeof(ids) + _ENTRY_BYTES
        if size > self.bytes_max or key in self._held:
            return
        if not (at_once or self._came_before(key, size)):
            return
        self._held[key] = ids, size
        self.bytes_held += size
        while self.bytes_held > self.bytes_max:
            _, size = self._held.pop(next(iter(self._held)))
            self.bytes_held -= size

    def _came_before(self, key: tuple[int, str], size: int) -> bool:
        """Returns whether a segment came lately, and remembers that it did; of two with one hash,
        the second is taken for the first, and kept.
        """
        number = hash(key)
        place = number % _SIGHTS
        if (
            self._sights[place] == number
            and self._bytes_seen - self._seen_at[place] <= _REACH * self.bytes_max
        ):
            return True
        self._bytes_seen += size
        self._sights[place], self._seen_at[place] = number, self._bytes_seen
        return False

    def count(self, *, cached_tokens: int, uncached_tokens: int) -> None:
        """Counts one text that was looked up."""
        if cached_tokens:
            self.hits += 1
        else:
            self.misses += 1
        self.cached_tokens += cached_tokens
        self.uncached_tokens += uncached_tokens
