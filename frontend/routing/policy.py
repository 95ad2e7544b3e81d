"""What a routing policy is."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class RankLoadView(Protocol):
    """What a policy may read of a rank."""

    @property
    def requests(self) -> int:
        """Unfinished requests on the rank."""
        ...


RankT = TypeVar("RankT", bound=RankLoadView)


class Policy(Protocol):
    """Chooses among the ranks that can take a request now."""

    def choose(self, ranks: Sequence[RankT]) -> RankT:
        """The rank for one request. `ranks` is never empty and keeps its order between calls while no worker comes or goes."""
        ...
