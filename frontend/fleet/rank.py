"""Keeps one data-parallel rank as this frontend sees it: its load, its cache, and what we have
running there.
"""

from typing import Final

from frontend.fleet.hit_rate import HitRate
from kv_events.index import BlockBudget, RankBlocks
from protocol.membership import Hello, RankLoad

SLACK_RATIO: Final = 8
"""Allows one block in so many more than the rank advertises: requests under way end in blocks that
are told before the evictions they cause.
"""

SLACK_BLOCKS: Final = 64

AHEAD_SHARE: Final = 32
"""Counts one request in so many more than a rank runs as run at once, so that it need not wait for
us when one ends.
"""

STEPS_AHEAD: Final = 3
"""Counts the prefill steps' worth of prompts that a rank always has: the step under way, the one
that an engine prepares meanwhile (SGLang's overlap schedule), and one for the way of its first
tokens to us and of the next prompts back.
"""


class Rank:
    """A Rank holds what policies read of a data-parallel rank (frontend.routing.policy.RankView)
    and what a placement changes.

    Load is our own requests, known exactly, plus those of other frontends: their share of the
    engine's last report. So several frontends agree without talking to each other, and none waits
    for a report to see what it has just sent. The worker counts whose requests are whose, since an
    engine's report may be older than the tokens that came from it: what it has beyond ours would
    often be our own requests of a moment ago, for which a rank that has nothing to do would look
    busy until the next report.
    """

    __slots__ = (
        "_others_kv_tokens",
        "_others_prefill_tokens",
        "_others_requests",
        "_others_waiting",
        "_own_kv_tokens",
        "_own_prefill_tokens",
        "_own_waiting",
        "block_size_tokens",
        "blocks",
        "dp_rank",
        "engine_kv_tokens",
        "engine_requests",
        "engine_waiting",
        "hit_rate",
        "key",
        "kv_tokens",
        "kv_tokens_max",
        "orders_by_priority",
        "own_requests",
        "placed_at",
        "prefill_step_tokens",
        "prefill_tokens",
        "requests",
        "requests_max",
        "requests_queued_max",
        "requests_running_max",
        "reuses_prefixes",
        "takes_one_more",
        "tells_events",
        "waiting",
        "worker_id",
    )

    def __init__(self, hello: Hello, dp_rank: int, budget: BlockBudget) -> None:
        capacity = hello.capacity
        self.worker_id = hello.worker_id
        self.dp_rank = dp_rank
        self.key = hello.worker_id, dp_rank
        self.block_size_tokens = capacity.block_size_tokens
        self.kv_tokens_max = capacity.kv_tokens
        self.requests_running_max = capacity.requests_running_max
        self.requests_max = (
            capacity.requests_running_max + capacity.requests_running_max // AHEAD_SHARE
        )
        self.requests_queued_max = capacity.requests_queued_max
        self.prefill_step_tokens = capacity.prefill_step_tokens
        self.orders_by_priority = capacity.orders_by_priority
        self.reuses_prefixes = capacity.reuses_prefixes
        blocks = -(-(capacity.kv_tokens + capacity.slow_kv_tokens) // capacity.block_size_tokens)
        self.blocks = RankBlocks(budget, blocks + blocks // SLACK_RATIO + SLACK_BLOCKS)
        self.tells_events = False
        self.takes_one_more = True
        """Tells whether the engine's own queue would not refuse a request for this rank: kept as it
        changes, since every request asks it of every rank.
        """
        self.placed_at = 0
        self.engine_kv_tokens = 0
        """Counts KV-cache tokens of unfinished requests as the engine last told: for people."""
        self.engine_requests = 0
        """Counts the unfinished requests, all frontends' and those that nobody waits for any more,
        as the engine last did: for people.
        """
        self.engine_waiting = 0
        """Counts those of them that wait in the engine's own queue."""
        self.hit_rate = HitRate()
        self.requests = self.waiting = self.prefill_tokens = self.kv_tokens = 0
        self.own_requests = self._own_waiting = self._own_prefill_tokens = self._own_kv_tokens = 0
        self._others_requests = self._others_waiting = self._others_prefill_tokens = (
            self._others_kv_tokens
        ) = 0
        self._note_queue()

    def runs_at_once(self, prompt_tokens: int) -> bool:
        """Returns whether the rank would run a request at once, as far as can be told from here."""
        return self.requests < self.requests_max and (
            self.kv_tokens + prompt_tokens <= self.kv_tokens_max or not self.requests
        )

    @property
    def hungry(self) -> bool:
        """Tells whether the rank's next prefill steps, or the batch that it runs, could be larger
        for want of prompts.
        """
        return (
            self.prefill_tokens < STEPS_AHEAD * self.prefill_step_tokens
            and self.waiting < self.requests_running_max
        )

    def follow_events(self, tells: bool) -> None:
        """Notes whether events tell from now on what the rank holds.

        What was assumed for want of them is forgotten.
        """
        if tells and not self.tells_events:
            self.blocks.forget_predictions()
        self.tells_events = tells

    def report(self, load: RankLoad, others_share: float = 0.0) -> None:
        """Takes over what the engine says, and what part of it other frontends sent.

        Of the KV cache all counts that is beyond our prompts: the answers' tokens are in it too.
        """
        self.engine_requests = load.requests_running + load.requests_waiting
        self.engine_waiting = load.requests_waiting
        self.engine_kv_tokens = load.kv_tokens_used
        self._others_requests = round(self.engine_requests * others_share)
        self._others_waiting = round(load.requests_waiting * others_share)
        self._others_prefill_tokens = round(load.waiting_uncached_tokens * others_share)
        self._others_kv_tokens = max(0, load.kv_tokens_used - self._own_kv_tokens)
        self.requests = self.own_requests + self._others_requests
        self.waiting = self._own_waiting + self._others_waiting
        self.prefill_tokens = self._own_prefill_tokens + self._others_prefill_tokens
        self.kv_tokens = self._own_kv_tokens + self._others_kv_tokens
        self._note_queue()

    def book(self, prefill_tokens: int, kv_tokens: int) -> None:
        """Counts a request of ours that was sent to the rank.

        Args:
            prefill_tokens: of its prompt, to be computed there.
            kv_tokens: of the cache that it takes there.
        """
        self._wait(1, prefill_tokens)
        self._hold(1, kv_tokens)

    def note_prefilled(self, prefill_tokens: int) -> None:
        """Counts a request's prompt as computed, since its first token came."""
        self._wait(-1, -prefill_tokens)

    def release(self, prefill_tokens: int, kv_tokens: int, *, prefilled: bool) -> None:
        """Counts a request no longer, since it ended."""
        if not prefilled:
            self._wait(-1, -prefill_tokens)
        self._hold(-1, -kv_tokens)

    def _wait(self, requests: int, prefill_tokens: int) -> None:
        self._own_waiting += requests
        self.waiting += requests
        self._note_queue()
        self._own_prefill_tokens += prefill_tokens
        self.prefill_tokens += prefill_tokens

    def _note_queue(self) -> None:
        most = self.requests_queued_max
        self.takes_one_more = most is None or self.waiting < most

    def _hold(self, requests: int, kv_tokens: int) -> None:
        self.own_requests += requests
        self.requests += requests
        self._own_kv_tokens += kv_tokens
        self.kv_tokens += kv_tokens
