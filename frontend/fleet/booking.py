"""Counts what an unfinished request of this frontend has taken of the rank that it runs on."""

from frontend.fleet.rank import Rank
from frontend.fleet.stream import RequestStream


class Booking:
    """A Booking is one unfinished request of this frontend on a rank: it counts in the rank's load
    from the moment it is made until it is released.
    """

    __slots__ = ("prefilled", "priority", "rank", "stream", "uncached_tokens")

    def __init__(
        self, stream: RequestStream, rank: Rank, uncached_tokens: int, *, priority: int = 0
    ) -> None:
        self.stream = stream
        self.rank = rank
        self.uncached_tokens = uncached_tokens
        self.priority = priority
        self.prefilled = False
        rank.book(uncached_tokens)

    def note_token(self) -> None:
        """Notes that a token came; the first one ends the prefill."""
        if not self.prefilled:
            self.prefilled = True
            self.rank.note_prefilled(self.uncached_tokens)

    def release(self) -> None:
        """Takes the request out of the rank's load, since it ended."""
        self.rank.release(self.uncached_tokens, prefilled=self.prefilled)
