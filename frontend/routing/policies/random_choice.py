"""Chooses any rank, at random."""

from collections.abc import Sequence
from random import Random

from frontend.routing.policy import RankT
from frontend.routing.route import Placement, RouteRequest


class RandomChoice:
    """RandomChoice is the policy of the mode `random`: any rank, with equal chances."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def choose(self, ranks: Sequence[RankT], route: RouteRequest) -> Placement[RankT]:  # noqa: ARG002 - a Policy
        return Placement(self._random.choice(ranks))
