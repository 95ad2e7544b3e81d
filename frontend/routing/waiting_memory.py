"""Counts what waiting requests take, over all models of a frontend."""

from typing import Final

REQUEST_BYTES: Final = 24 * 1024
"""Is what a waiting request takes, whatever its prompt: connection, task, parsed body, sampling."""

PROMPT_BYTES_PER_TOKEN: Final = 16
"""Is what a prompt takes by token: its text as bytes and as strings, its ids as u32 and its block
hashes.
"""


class WaitingMemory:
    """A WaitingMemory is a counter of bytes with a bound."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_left = bytes_max

    def has_room(self, size_bytes: int, freed_bytes: int = 0) -> bool:
        """Returns whether a request of this size may wait, once so much is free again."""
        return 0 < self._bytes_left + freed_bytes >= size_bytes

    def take(self, size_bytes: int) -> None:
        """Counts a request that waits from here on."""
        self._bytes_left -= size_bytes

    def give(self, size_bytes: int) -> None:
        """Gives back what a request took that does not wait any more."""
        self._bytes_left += size_bytes


def waiting_bytes(prompt_tokens: int) -> int:
    """Returns what a request with a prompt of so many tokens is taken to occupy while it waits, in
    bytes.
    """
    return REQUEST_BYTES + PROMPT_BYTES_PER_TOKEN * prompt_tokens
