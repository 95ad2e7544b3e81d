"""One frontend of the fleet: the real router, ranks, bookings and KV feeds, without HTTP and
sockets.
"""

from collections.abc import Sequence
from random import Random

from frontend.fleet.booking import Booking
from frontend.fleet.rank import Rank
from frontend.routing.policy import Policy
from frontend.routing.route import Placement, RouteRequest
from frontend.routing.router import Lifetimes, Router, RouterMode
from kv_events.index import BlockBudget
from kv_events.rank_feed import FeedCounts, RankFeed
from protocol.kv_stream import BlockBatch, Change, Snapshot
from protocol.membership import Capacity, Hello, ModelCard, RankLoad

BLOCKS_MAX = 4_000_000
"""As the setting kv_index_blocks_max."""


class FrontendSide:
    """Places requests and follows what comes of them. Frontends share nothing.

    Args:
        held: requests are placed and booked as ever, but who counts on what another one has yet to
        compute on a busy rank is sent when that one has its first token: no frontend does so, and
        what it would bring is to be seen.
    Attributes:
        leaders: of who is held, by id, whose first token it waits for.
    """

    def __init__(
        self,
        mode: RouterMode,
        policy: Policy,
        ranks: int,
        kv_tokens: int,
        block_size_tokens: int,
        lifetimes: Lifetimes,
        random: Random,
        *,
        held: bool = False,
    ) -> None:
        card = ModelCard(
            "m", context_length=1 << 20, vocab_size=32_000, eos_token_ids=[2], files=[]
        )
        capacity = Capacity(1, 16, kv_tokens, 256, block_size_tokens=block_size_tokens)
        budget, self.counts = BlockBudget(BLOCKS_MAX), FeedCounts()
        self.ranks = [
            Rank(Hello(str(index), 0, "text", "", card, capacity, 1), 0, budget)
            for index in range(ranks)
        ]
        self._index = {rank.worker_id: index for index, rank in enumerate(self.ranks)}
        self._feeds = [RankFeed(rank.blocks, lambda: None, self.counts, 0.0) for rank in self.ranks]
        self._numbers = [0] * ranks
        for rank, feed in zip(self.ranks, self._feeds, strict=True):
            rank.tells_events = True
            feed.on_snapshot(Snapshot(0, 0, 0, []), 0.0)
        random.shuffle(self.ranks)  # workers introduce themselves in another order to each frontend
        self._by_index = {self._index[rank.worker_id]: rank for rank in self.ranks}
        self._router = Router(mode, policy, lifetimes)
        self.bookings: dict[str, Booking] = {}
        self.leaders: dict[str, str] = {}
        self._held = held
        self._computing: dict[tuple[int, int], str] = {}
        """By rank and block: who computes that block, its first one that is not cached."""
        self._computes: dict[str, tuple[int, int]] = {}

    def place(self, request_id: str, prompt: bytes, now: float) -> tuple[int, int]:
        """Choose and book a rank as frontend.mesh.dispatch does.

        Returns its index and the prompt tokens expected in its cache.
        """
        route = RouteRequest(prompt)
        placement = self._router.choose(self.ranks, route, now)
        rank = placement.rank
        if self._held:
            self._lead(request_id, route.blocks(rank.block_size_tokens), placement)
        self.bookings[request_id] = Booking(
            None, rank, route.prompt_tokens - placement.cached_tokens
        )  # type: ignore[arg-type]
        self._router.placed(placement, route, now)
        return self._index[rank.worker_id], placement.cached_tokens

    def begun(self, request_id: str) -> None:
        """A request's first token came."""
        self.leaders.pop(request_id, None)
        block = self._computes.pop(request_id, None)
        if block is not None:
            del self._computing[block]

    def _lead(self, request_id: str, blocks: list[int], placement: Placement[Rank]) -> None:
        """Note whom a request follows, or that others may follow it."""
        rank, index = placement.rank, self._index[placement.rank.worker_id]
        cached = placement.cached_tokens // rank.block_size_tokens
        known = ((index, block) for block in blocks[:cached])
        leader = next((found for key in known if (found := self._computing.get(key))), None)
        if leader is not None:
            self.leaders[request_id] = leader
        elif rank.requests and cached < len(blocks):
            block = index, blocks[cached]
            if self._computing.setdefault(block, request_id) == request_id:
                self._computes[request_id] = block

    def report(self, index: int, load: RankLoad) -> None:
        """A heartbeat came."""
        self._by_index[index].report(load)

    def apply(self, index: int, changes: Sequence[Change], now: float) -> None:
        """A batch of a rank's KV stream came."""
        self._numbers[index] += 1
        self._feeds[index].on_batch(BlockBatch(0, 0, self._numbers[index], 0.0, list(changes)), now)

    def beat(self, now: float) -> None:
        """What the mesh does four times a second."""
        for rank, feed in zip(self.ranks, self._feeds, strict=True):
            rank.blocks.expire(now)
            feed.on_time(now)
