"""Bounds the bytes of request bodies that one frontend holds at once, over all its clients, and
runs the work on large ones in a thread.
"""

import time
from typing import Final, Protocol

from frontend.text.tokenizing.pool import EncodePool
from protocol.errors import Overloaded

BODIES_BYTES_MAX: Final = 1 << 30
"""Bounds the bytes of all bodies: a body and what is made of it (strings, prompt, token ids) take
about four times its size, so this much can cost 4 GiB. It is 23 bodies of the largest default size,
or 32,000 prompts of 8k tokens.
"""

LARGE_THREADS: Final = 1
"""Counts the threads for large bodies: more would only take the interpreter from each other, and
from the loop.
"""


class Arriving(Protocol):
    """An Arriving is a body that is not complete."""

    size_bytes: int
    """Counts the bytes that were taken of the budget for the body."""
    moved_at: float
    """Says when something of the body arrived last, in seconds of the monotonic clock."""

    def give_up(self) -> None:
        """Gives back all that the body took and refuses its request."""
        ...


class BodyBudget:
    """A BodyBudget counts the bytes of all bodies that are held.

    What was taken is given back when the request is answered, for the request lives on in its
    handler until then.

    Where it is exhausted, bodies that are still arriving make room, the one first that holds most
    for the longest silence: who never ends a body keeps nobody out, and neither a small slow one
    nor a large fast one is in danger.

    Attributes:
        arriving: the bodies that are not complete.
        large: runs what takes long since a body is large.
    """

    def __init__(self, bytes_max: int = BODIES_BYTES_MAX) -> None:
        self._bytes_left = bytes_max
        self.arriving: set[Arriving] = set()
        self.large = EncodePool(LARGE_THREADS)

    def take(self, size_bytes: int, body: Arriving | None = None) -> None:
        """Counts bytes that arrived.

        Args:
            body: what they are of, if it is still arriving.
        Raises:
            Overloaded: the budget has not that much left, and nobody can make room; nothing was
            counted.
        """
        while size_bytes > self._bytes_left:
            now = time.monotonic()
            others = [each for each in self.arriving if each is not body and each.size_bytes]
            if not others:
                raise Overloaded(
                    "The bodies of the requests being served fill this server's memory for "
                    "them. Please retry shortly."
                )
            max(others, key=lambda each: each.size_bytes * (now - each.moved_at)).give_up()
        self._bytes_left -= size_bytes

    def give(self, size_bytes: int) -> None:
        """Counts bytes that are no longer held."""
        self._bytes_left += size_bytes
