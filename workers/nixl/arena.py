"""A worker has a piece of memory that others read, or that it reads into; it lends spans of it."""

import ctypes
import mmap
from bisect import insort
from collections import deque
from dataclasses import dataclass
from typing import Any

PAGE_BYTES = 4_096
"""Is what spans begin and end at, as NIXL's transports like it best."""


@dataclass(frozen=True, order=True)
class Span:
    """A Span is a part of an arena: where it begins there, and its bytes."""

    start: int
    size_bytes: int


class Arena:
    """An Arena lends spans of one piece of memory, which the system gives as it is used.

    Args:
        size_bytes: of all of it.
    Attributes:
        address: of its first byte.
        size_bytes: whole pages.
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = _whole_pages(size_bytes)
        self._memory = mmap.mmap(-1, self.size_bytes)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._free: list[tuple[int, int]] = [(0, self.size_bytes)]
        """Has where free pieces begin and end, in order; no two of them touch."""
        self._returned: deque[Span] = deque()

    def lend(self, size_bytes: int) -> Span | None:
        """Returns a span of so many bytes that is nobody else's; None where there is no room."""
        self._take_back()
        needed = _whole_pages(max(1, size_bytes))
        for at, (start, end) in enumerate(self._free):
            if end - start >= needed:
                self._free[at : at + 1] = [(start + needed, end)] if end - start > needed else []
                return Span(start, size_bytes)
        return None

    def give_back(self, span: Span) -> None:
        """Takes a span back that was lent; from any thread, and out of a finalizer."""
        self._returned.append(span)

    def address_of(self, span: Span) -> int:
        """Returns where a span begins in the memory of this process."""
        return self.address + span.start

    def bytes_of(self, span: Span) -> "memoryview[int]":
        """Returns a span's memory, to be written and read."""
        return memoryview(self._memory)[span.start : span.start + span.size_bytes]

    def lasting_bytes_of(self, span: Span) -> Any:
        """Returns a span's memory as an array of ctypes, of which views can be made, and which can
        be watched for when nobody has any left.
        """
        array = ctypes.c_ubyte * span.size_bytes
        return array.from_buffer(self._memory, span.start)

    @property
    def lent_bytes(self) -> int:
        """Returns how much is lent, in whole pages."""
        self._take_back()
        return self.size_bytes - sum(end - start for start, end in self._free)

    def _take_back(self) -> None:
        while self._returned:
            span = self._returned.popleft()
            insort(self._free, (span.start, span.start + _whole_pages(max(1, span.size_bytes))))
            joined: list[tuple[int, int]] = []
            for start, end in self._free:
                if joined and joined[-1][1] == start:
                    joined[-1] = (joined[-1][0], end)
                else:
                    joined.append((start, end))
            self._free = joined


def _whole_pages(size_bytes: int) -> int:
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
