"""Any rank."""

from collections.abc import Sequence
from random import Random

from frontend.routing.policies.policy import RankT
from frontend.routing.route import Placement, Route


class RandomChoice:
    """Policy of the mode `random`."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def choose(self, ranks: Sequence[RankT], route: Route) -> Placement[RankT]:  # noqa: ARG002 - a Policy
        return Placement(self._random.choice(ranks))
