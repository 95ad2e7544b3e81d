"""Tells who computes a beginning that others are about to share, and keeps those back until it is
computed.

Pure.

A request that counts on what another one has yet to compute finds it cached only if it comes to the
engine behind the step that computes it: within one step SGLang computes equal beginnings once for
each prompt, and where it prepares a step while the one before runs, in that one too. So the first
one leads, and the others follow it: they have their rank and are booked there, and are sent when
the first one's prompt is computed.
"""

from typing import Final, Generic, Protocol, TypeVar

from frontend.routing.route import Placement, RouteRequest
from frontend.routing.sessions import RankKey

SHARED_TOKENS_MIN: Final = 512
"""Counts the tokens to be shared from which on it is worth a step's wait: what an engine computes
in a step hardly longer than one for a token.
"""

HELD_S_MAX: Final = 1.0
"""Bounds how long one is kept back: what a rank has ahead of it are three steps' worth of prompts
(frontend.fleet.rank), which take about as long.
"""

HeldT = TypeVar("HeldT")


class SharedRank(Protocol):
    """A SharedRank is what is to be known of a rank whose cache requests share."""

    @property
    def key(self) -> RankKey:
        """Returns the rank's name."""
        ...

    @property
    def block_size_tokens(self) -> int:
        """Counts the tokens of one of the rank's blocks."""
        ...


RankT = TypeVar("RankT", bound=SharedRank)


class Leaders(Generic[HeldT]):
    """A Leaders knows every request of a frontend that others may wait for, and who waits.

    All of its tables are bounded by the requests that are booked.
    """

    def __init__(self) -> None:
        self._ranks: dict[RankKey, dict[int, dict[int, tuple[str, int]]]] = {}
        """Maps a rank, the place of the first block of a prompt that is not cached there, and that
        block, to who computes it, with its priority.
        """
        self._leads: dict[str, tuple[RankKey, int, int]] = {}
        """Maps requests to where `_ranks` has them."""
        self._waiting: dict[str, dict[str, HeldT]] = {}
        """Maps requests to those who wait for them, in the order in which they came."""
        self._follows: dict[str, str] = {}
        """Maps those to whom they wait for."""

    def __len__(self) -> int:
        return len(self._follows)

    def find(
        self, placement: Placement[RankT], route: RouteRequest, priority: int = 0
    ) -> str | None:
        """Returns whom a request is to wait for on the rank chosen for it, if it shares enough with
        anybody to do so.

        Nobody waits for a request of a lower priority.
        """
        rank = placement.rank
        last = (placement.cached_tokens - SHARED_TOKENS_MIN) // rank.block_size_tokens
        if last < 0 or (here := self._ranks.get(rank.key)) is None:
            return None
        blocks = route.blocks(rank.block_size_tokens)
        for at, leaders in here.items():
            if at <= last and (leader := leaders.get(blocks[at])) is not None:
                return leader[0] if leader[1] >= priority else None
        return None

    def lead(
        self,
        request_id: str,
        placement: Placement[RankT],
        route: RouteRequest,
        priority: int = 0,
    ) -> None:
        """Notes that a request was sent, and may be followed if it has much to compute."""
        cached, rank = placement.cached_tokens, placement.rank
        if route.prompt_tokens - cached < SHARED_TOKENS_MIN:
            return
        size, key = rank.block_size_tokens, rank.key
        blocks, at = route.blocks(size), cached // size
        if at >= len(blocks):
            return
        here = self._ranks.get(key)
        if here is None:
            here = self._ranks[key] = {}
        leaders = here.get(at)
        if leaders is None:
            leaders = here[at] = {}
        block = blocks[at]
        if block not in leaders:
            leaders[block] = request_id, priority
            self._leads[request_id] = key, at, block

    def follow(self, leader: str, request_id: str, held: HeldT) -> bool:
        """Keeps a request back until `leader` has computed what they share; returns whether it is
        the first one.
        """
        followers = self._waiting.setdefault(leader, {})
        followers[request_id] = held
        self._follows[request_id] = leader
        return len(followers) == 1

    def computed(self, request_id: str) -> list[HeldT]:
        """Returns, once, who waited for a request whose prompt is computed, or who is nobody to
        wait for any more, in the order in which they came.
        """
        place = self._leads.pop(request_id, None)
        if place is None:
            return []
        key, at, block = place
        here = self._ranks[key]
        leaders = here[at]
        del leaders[block]
        if not leaders:
            del here[at]
            if not here:
                del self._ranks[key]
        followers = self._waiting.pop(request_id, None) or {}
        for follower in followers:
            del self._follows[follower]
        return list(followers.values())

    def drop(self, request_id: str) -> bool:
        """Forgets one that was kept back; returns whether it was."""
        leader = self._follows.pop(request_id, None)
        if leader is None:
            return False
        followers = self._waiting[leader]
        del followers[request_id]
        if not followers:
            del self._waiting[leader]
        return True
