"""How many bytes of request bodies one frontend holds at once, over all its clients."""

from typing import Final

from protocol.errors import Overloaded

BODIES_BYTES_MAX: Final = 1 << 30
"""A body and what is made of it (strings, prompt, token ids) take about four times its size, so this much can cost 4 GiB. It is 23
bodies of the largest default size, or 32,000 prompts of 8k tokens."""


class BodyBudget:
    """A counter. What was taken is given back when the request is answered, for the request lives on in its handler until then."""

    def __init__(self, bytes_max: int = BODIES_BYTES_MAX) -> None:
        self._bytes_left = bytes_max

    def take(self, size_bytes: int) -> None:
        """Count bytes that arrived.

        Raises:
            Overloaded: the budget has not that much left; nothing was counted.
        """
        if size_bytes > self._bytes_left:
            raise Overloaded("The bodies of the requests being served fill this server's memory for them. Please retry shortly.")
        self._bytes_left -= size_bytes

    def give(self, size_bytes: int) -> None:
        """Count bytes that are no longer held."""
        self._bytes_left += size_bytes
