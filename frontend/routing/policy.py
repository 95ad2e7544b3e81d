"""Defines what a routing policy is, and what it may read of a rank."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from frontend.routing.route import Placement, RouteRequest
from kv_events.index import RankBlocks


class RankView(Protocol):
    """A RankView is what a policy may read of a rank: its load (all frontends', as far as is known)
    and its cache.
    """

    @property
    def requests(self) -> int:
        """Counts the rank's unfinished requests."""
        ...

    @property
    def prefill_tokens(self) -> int:
        """Counts the prompt tokens that wait on the rank to be computed."""
        ...

    @property
    def kv_tokens(self) -> int:
        """Counts the KV-cache tokens that unfinished requests hold."""
        ...

    @property
    def block_size_tokens(self) -> int:
        """Counts the tokens of one of the rank's blocks."""
        ...

    @property
    def blocks(self) -> RankBlocks:
        """Returns the blocks that the rank holds."""
        ...

    @property
    def reuses_prefixes(self) -> bool:
        """Tells whether the rank finds again what it computed of a prompt."""
        ...

    placed_at: int
    """Says when the rank last got a request of ours, counted in requests; 0 if never. The router
    sets it.
    """


RankT = TypeVar("RankT", bound=RankView)


class Policy(Protocol):
    """A Policy chooses among the ranks that can take a request now."""

    def choose(self, ranks: Sequence[RankT], route: RouteRequest) -> Placement[RankT]:
        """Returns the rank for one request, as a Placement.

        `ranks` is never empty and keeps its order between calls while no worker comes or goes.
        """
        ...
