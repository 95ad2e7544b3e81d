"""Every rank in turn."""

from collections.abc import Sequence

from frontend.routing.policy import RankT


class RoundRobin:
    """Ignores load: the plain reference that other policies are compared with."""

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, ranks: Sequence[RankT]) -> RankT:
        self._turn += 1
        return ranks[self._turn % len(ranks)]
