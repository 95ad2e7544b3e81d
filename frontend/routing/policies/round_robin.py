"""Chooses every rank in turn."""

from collections.abc import Sequence
from operator import attrgetter

from frontend.routing.policy import RankT
from frontend.routing.route import Placement, RouteRequest

_placed_at = attrgetter("placed_at")


class RoundRobin:
    """RoundRobin is the policy of the mode `round-robin`, which ignores load: the plain reference
    that other policies are compared with.

    The rank that has waited longest for a request is next. A turn that is counted instead comes to
    some ranks only, where several models, or the two legs of a request, share the count.
    """

    def choose(self, ranks: Sequence[RankT], route: RouteRequest) -> Placement[RankT]:  # noqa: ARG002 - a Policy
        return Placement(min(ranks, key=_placed_at))
