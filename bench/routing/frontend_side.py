"""One frontend of the fleet: the real router, ranks, bookings and KV feeds, without HTTP and
sockets.
"""

from collections.abc import Sequence
from random import Random

from frontend.fleet.booking import Booking
from frontend.fleet.rank import Rank
from frontend.fleet.stream import RequestStream
from frontend.routing.leaders import Leaders
from frontend.routing.policy import Policy
from frontend.routing.route import Placement, RouteRequest
from frontend.routing.router import Lifetimes, Router, RouterMode
from kv_events.index import BlockBudget
from kv_events.rank_feed import FeedCounts, RankFeed
from protocol.generation import Generate
from protocol.kv_stream import BlockBatch, Change, Snapshot
from protocol.membership import Capacity, Hello, ModelCard, RankLoad

BLOCKS_MAX = 4_000_000
"""As the setting kv_index_blocks_max."""


Placed = tuple[int, int, str | None]
"""The index of a rank, the prompt tokens expected in its cache, and who is to be waited for."""


class _Nobody:
    """Waits for answers that do not come this way."""

    def notify(self) -> None: ...


class FrontendSide:
    """Places requests and follows what comes of them. Frontends share nothing.

    Args:
        held: who counts on what another one has yet to compute waits for it, as
        frontend.mesh.following has it; otherwise it is sent at once.
    Attributes:
        leaders: who computes, and who waits for it.
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
        held: bool = True,
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
        self._unread = RequestStream("", _Nobody(), Placement(self.ranks[0]))
        """Stands for the answers of all requests."""
        self._router = Router(mode, policy, lifetimes)
        self.bookings: dict[str, Booking] = {}
        self.leaders: Leaders[Generate] = Leaders()
        self._held = held

    def place(self, request: Generate, now: float) -> Placed:
        """Choose and book a rank as frontend.mesh.dispatch does."""
        route = RouteRequest(request.token_ids)
        placement = self._router.choose(self.ranks, route, now)
        rank, leader = placement.rank, None
        if self._held:
            leader = self.leaders.find(placement, route)
            if leader is None:
                self.leaders.lead(request.request_id, placement, route)
        self.bookings[request.request_id] = Booking(
            self._unread, rank, route.prompt_tokens - placement.cached_tokens
        )
        self._router.placed(placement, route, now)
        return self._index[rank.worker_id], placement.cached_tokens, leader

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
