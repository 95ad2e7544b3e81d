"""Chooses a rank for each request: pins and sessions first, then the policy.

Learns from its own decisions what events tell later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from frontend.routing.held import held_by
from frontend.routing.policy import Policy, RankView
from frontend.routing.route import Placement, RouteRequest
from frontend.routing.sessions import RankKey, Sessions
from protocol.errors import InvalidRequest

RouterMode = Literal["kv", "least-loaded", "power-of-two", "round-robin", "random"]


class NamedRank(RankView, Protocol):
    """A NamedRank is a rank with its name."""

    @property
    def key(self) -> RankKey:
        """Returns the rank's name: (worker_id, dp_rank)."""
        ...

    @property
    def tells_events(self) -> bool:
        """Tells whether the rank's blocks follow KV events; otherwise they are what was routed
        there.
        """
        ...


RankT = TypeVar("RankT", bound=NamedRank)


@dataclass(frozen=True, kw_only=True)
class Lifetimes:
    """Lifetimes says for how many seconds the router's own decisions count.

    `predicted_s`: a routed prompt as cached where events will tell soon. `assumed_s`: the same
    where none will. `session_s`: a session's affinity.
    """

    predicted_s: float
    assumed_s: float
    session_s: float


class Router:
    """A Router chooses ranks and remembers what it chose; a frontend has one. Synchronous; gets the
    time.

    Attributes:
        sessions: where each session's last request went.
    """

    def __init__(self, mode: RouterMode, policy: Policy, lifetimes: Lifetimes) -> None:
        self.mode: RouterMode = mode
        self._policy = policy
        self._lifetimes = lifetimes
        self.sessions = Sessions(lifetimes.session_s)
        self._placed = 0

    def cached_tokens(self, ranks: Sequence[RankT], route: RouteRequest) -> int:
        """Returns how much of a prompt the one of these ranks holds that holds most of it, in
        tokens of whole blocks.
        """
        return max(
            (
                sum(overlap) * rank.block_size_tokens
                for rank, overlap in zip(ranks, held_by(ranks, route), strict=True)
            ),
            default=0,
        )

    def choose(self, ranks: Sequence[RankT], route: RouteRequest, now: float) -> Placement[RankT]:
        """Returns the rank for a request, out of those that have room; `ranks` is not empty."""
        wanted = route.beside
        if wanted is None and route.session_id is not None:
            wanted = self.sessions.rank_of(route.session_id, now)
        if wanted is not None:
            same = [rank for rank in ranks if rank.key == wanted]
            if same:
                return self._policy.choose(same, route)
        return self._policy.choose(ranks, route)

    def placed(self, placement: Placement[RankT], route: RouteRequest, now: float) -> None:
        """Notes that a request was sent: the next one of its prefix, or of its session, follows
        it.
        """
        rank = placement.rank
        self._placed += 1
        rank.placed_at = self._placed
        if route.session_id is not None:
            self.sessions.note(route.session_id, rank.key, now)
        if self.mode != "kv" or not rank.reuses_prefixes:
            return
        lifetime_s = self._lifetimes.predicted_s if rank.tells_events else self._lifetimes.assumed_s
        rank.blocks.predict(route.blocks(rank.block_size_tokens), now + lifetime_s)


def unmet_pins(route: RouteRequest) -> InvalidRequest:
    """Returns the error of a request that insists on a rank which is not there."""
    asked = _named("worker", route.worker_id, route.dp_rank)
    if route.pins_prefill:
        prefill = _named("prefill worker", route.prefill_worker_id, route.prefill_dp_rank)
        asked += f" together with {prefill}"
    return InvalidRequest(f"No {asked} serves this model.", param="nvext")


def _named(what: str, worker_id: str | None, dp_rank: int | None) -> str:
    named = what if worker_id is None else f"{what} {worker_id!r}"
    return named if dp_rank is None else f"{named} with data-parallel rank {dp_rank}"
