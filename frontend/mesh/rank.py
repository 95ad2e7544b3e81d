"""One data-parallel rank as this frontend sees it: its load, its cache, and what we have running there."""

from typing import Final

from frontend.mesh.stream import RequestStream
from kv_events.index import BlockBudget, RankBlocks
from protocol.membership import Hello, RankLoad

SLACK_RATIO: Final = 8
"""One block in so many more than the rank advertises: requests under way end in blocks that are told before the evictions they cause."""

SLACK_BLOCKS: Final = 64

AHEAD_SHARE: Final = 32
"""One request in so many more than a rank runs is sent ahead, so that it need not wait for us when one ends. More would wait in the
engine's queue, from where they cannot go to a rank that has room sooner."""

BACKLOG_TOKENS: Final = 16_384
"""Prompt tokens that wait to be computed on a rank that has enough of them: two of SGLang's prefill steps (chunked_prefill_size)."""


class Rank:
    """What policies read (frontend.routing.policy.RankView) and what a placement changes.

    Load is our own requests, known exactly, plus those of other frontends: what the engine's last report had beyond ours. So several
    frontends agree without talking to each other, and none waits for a report to see what it has just sent.
    """

    __slots__ = (
        "_others_kv_tokens",
        "_others_prefill_tokens",
        "_others_requests",
        "_own_kv_tokens",
        "_own_prefill_tokens",
        "block_size_tokens",
        "blocks",
        "dp_rank",
        "key",
        "kv_tokens",
        "kv_tokens_max",
        "own_requests",
        "placed_at",
        "prefill_tokens",
        "requests",
        "requests_max",
        "tells_events",
        "worker_id",
    )

    def __init__(self, hello: Hello, dp_rank: int, budget: BlockBudget) -> None:
        capacity = hello.capacity
        self.worker_id = hello.worker_id
        self.dp_rank = dp_rank
        self.key = hello.worker_id, dp_rank
        self.block_size_tokens = capacity.block_size_tokens
        self.kv_tokens_max = capacity.kv_tokens
        self.requests_max = capacity.requests_running_max + capacity.requests_running_max // AHEAD_SHARE
        blocks = -(-(capacity.kv_tokens + capacity.slow_kv_tokens) // capacity.block_size_tokens)
        self.blocks = RankBlocks(budget, blocks + blocks // SLACK_RATIO + SLACK_BLOCKS)
        self.tells_events = False
        self.placed_at = 0
        self.requests = self.prefill_tokens = self.kv_tokens = 0
        self.own_requests = self._own_prefill_tokens = self._own_kv_tokens = 0
        self._others_requests = self._others_prefill_tokens = self._others_kv_tokens = 0

    def has_room(self, prompt_tokens: int) -> bool:
        """Whether a request would be run at once, as far as can be told from here."""
        return self.requests < self.requests_max and (self.kv_tokens + prompt_tokens <= self.kv_tokens_max or not self.requests)

    def follow_events(self, tells: bool) -> None:
        """Events tell from now on what the rank holds, or no longer do. What was assumed for want of them is forgotten."""
        if tells and not self.tells_events:
            self.blocks.forget_predictions()
        self.tells_events = tells

    def report(self, load: RankLoad) -> None:
        """Take over what the engine says."""
        self._others_requests = max(0, load.requests_running + load.requests_waiting - self.own_requests)
        self._others_prefill_tokens = max(0, load.waiting_uncached_tokens - self._own_prefill_tokens)
        self._others_kv_tokens = max(0, load.kv_tokens_used - self._own_kv_tokens)
        self._own(0, 0, 0)

    def book(self, uncached_tokens: int) -> None:
        """A request of ours was sent here."""
        self._own(1, uncached_tokens, uncached_tokens)

    def note_prefilled(self, uncached_tokens: int) -> None:
        """Its first token came."""
        self._own(0, -uncached_tokens, 0)

    def release(self, uncached_tokens: int, *, prefilled: bool) -> None:
        """It ended."""
        self._own(-1, 0 if prefilled else -uncached_tokens, -uncached_tokens)

    def _own(self, requests: int, prefill_tokens: int, kv_tokens: int) -> None:
        self.own_requests += requests
        self._own_prefill_tokens += prefill_tokens
        self._own_kv_tokens += kv_tokens
        self.requests = self.own_requests + self._others_requests
        self.prefill_tokens = self._own_prefill_tokens + self._others_prefill_tokens
        self.kv_tokens = self._own_kv_tokens + self._others_kv_tokens


class Booking:
    """One unfinished request of ours on a rank."""

    __slots__ = ("_prefilled", "_uncached_tokens", "rank", "stream")

    def __init__(self, stream: RequestStream, rank: Rank, uncached_tokens: int) -> None:
        self.stream = stream
        self.rank = rank
        self._uncached_tokens = uncached_tokens
        self._prefilled = False
        rank.book(uncached_tokens)

    def note_token(self) -> None:
        """A token came; the first one ends the prefill."""
        if not self._prefilled:
            self._prefilled = True
            self.rank.note_prefilled(self._uncached_tokens)

    def release(self) -> None:
        """The request ended."""
        self.rank.release(self._uncached_tokens, prefilled=self._prefilled)
