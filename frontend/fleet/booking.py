"""Counts what an unfinished request of this frontend has taken of the rank that it runs on."""

from frontend.fleet.rank import Rank
from frontend.fleet.stream import RequestStream
from protocol.diffusion import PERCENT_MADE
from protocol.generation import Extras


class Booking:
    """A Booking is one unfinished request of this frontend on a rank: it counts in the rank's load
    from the moment it is made until it is released.

    Args:
        prefill_tokens: of its prompt, to be computed there.
        kv_tokens: of the cache that it takes there; the same if not given.
    """

    __slots__ = (
        "counts",
        "kv_tokens",
        "prefill_tokens",
        "prefilled",
        "priority",
        "rank",
        "stream",
    )

    def __init__(
        self,
        stream: RequestStream,
        rank: Rank,
        prefill_tokens: int,
        kv_tokens: int | None = None,
        *,
        priority: int = 0,
    ) -> None:
        self.stream = stream
        self.rank = rank
        self.prefill_tokens = prefill_tokens
        self.kv_tokens = prefill_tokens if kv_tokens is None else kv_tokens
        self.priority = priority
        self.prefilled = False
        self.counts = True
        """Says whether the rank's load has it, from the beginning until it is released."""
        rank.book(prefill_tokens, self.kv_tokens)

    def note_token(self) -> None:
        """Notes that a token came; the first one ends the prefill."""
        if not self.prefilled:
            self.prefilled = True
            self.rank.note_prefilled(self.prefill_tokens)

    def release(self) -> None:
        """Takes the request out of the rank's load, since it ended."""
        if self.counts:
            self.counts = False
            self.rank.release(self.prefill_tokens, self.kv_tokens, prefilled=self.prefilled)

    def leaves_room(self, told: Extras) -> bool:
        """Tells whether the rank can take another one, though this one has not ended: what it asked
        for is made, and being written.
        """
        if told.progress is None or told.progress.percent < PERCENT_MADE or not self.counts:
            return False
        self.release()
        return True
