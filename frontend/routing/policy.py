"""What a routing policy is."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from frontend.routing.route import Placement, RouteRequest
from kv_events.index import RankBlocks


class RankView(Protocol):
    """What a policy may read of a rank: its load (all frontends', as far as is known) and its
    cache.
    """

    @property
    def requests(self) -> int:
        """Unfinished requests."""
        ...

    @property
    def prefill_tokens(self) -> int:
        """Prompt tokens that wait to be computed."""
        ...

    @property
    def kv_tokens(self) -> int:
        """KV-cache tokens that unfinished requests hold."""
        ...

    @property
    def block_size_tokens(self) -> int:
        """Tokens of one of its blocks."""
        ...

    @property
    def blocks(self) -> RankBlocks:
        """What it holds."""
        ...

    placed_at: int
    """When it last got a request of ours, counted in requests; 0 if never. Set by the router."""


RankT = TypeVar("RankT", bound=RankView)


class Policy(Protocol):
    """Chooses among the ranks that can take a request now."""

    def choose(self, ranks: Sequence[RankT], route: RouteRequest) -> Placement[RankT]:
        """The rank for one request.

        `ranks` is never empty and keeps its order between calls while no worker comes or goes.
        """
        ...
