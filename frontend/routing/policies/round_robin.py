"""Chooses every rank in turn."""

from collections.abc import Sequence

from frontend.routing.policy import RankT
from frontend.routing.route import Placement, RouteRequest


class RoundRobin:
    """RoundRobin is the policy of the mode `round-robin`, which ignores load: the plain reference
    that other policies are compared with.
    """

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, ranks: Sequence[RankT], route: RouteRequest) -> Placement[RankT]:  # noqa: ARG002 - a Policy
        self._turn += 1
        return Placement(ranks[self._turn % len(ranks)])
