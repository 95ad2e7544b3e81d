"""Chooses the rank with the fewest unfinished requests."""

from collections.abc import Sequence
from random import Random

from frontend.routing.policy import RankT
from frontend.routing.route import Placement, RouteRequest


class LeastLoaded:
    """LeastLoaded is the policy of the mode `least-loaded`; ties are broken at random, or every
    frontend would send its first request to the same rank.
    """

    def __init__(self, random: Random) -> None:
        self._random = random

    def choose(self, ranks: Sequence[RankT], route: RouteRequest) -> Placement[RankT]:  # noqa: ARG002 - a Policy
        if len(ranks) == 1:
            return Placement(ranks[0])
        fewest = min(rank.requests for rank in ranks)
        return Placement(self._random.choice([rank for rank in ranks if rank.requests == fewest]))
