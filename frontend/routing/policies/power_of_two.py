"""Chooses the less loaded of two ranks drawn at random.

Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001): nearly as even
as looking at all, and stale figures do less harm, since not everyone runs to the same minimum.
"""

from collections.abc import Sequence
from random import Random

from frontend.routing.policy import RankT
from frontend.routing.route import Placement, RouteRequest


class PowerOfTwo:
    """PowerOfTwo is the policy of the mode `power-of-two`: the less loaded of two ranks drawn at
    random.
    """

    def __init__(self, random: Random) -> None:
        self._random = random

    def choose(self, ranks: Sequence[RankT], route: RouteRequest) -> Placement[RankT]:  # noqa: ARG002 - a Policy
        if len(ranks) == 1:
            return Placement(ranks[0])
        one, other = self._random.sample(ranks, 2)
        return Placement(one if one.requests <= other.requests else other)
