"""A request as it is offered to workers, once or again."""

from collections.abc import Hashable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from frontend.routing.route import RouteRequest
from protocol.requests import Work


@dataclass(frozen=True, slots=True)
class Offer:
    """What to run and where not to.

    Attributes:
        avoid: ids of workers that have refused it.
        alone: a worker may have died of it, so no two of its kind go to one worker until they are
        cleared.
        admitted: some of it has been served, so it comes before whoever has not been, and is not
        refused for want of a place.
    """

    request: Work
    route: RouteRequest
    avoid: AbstractSet[str] = frozenset()
    alone: bool = False
    admitted: bool = False

    @property
    def lane(self) -> Hashable:
        """Whom it waits behind: those that the same ranks will do for. None: any rank will do."""
        route, adapter = self.route, self.request.lora_name
        if not (route.pinned or self.avoid or self.alone or adapter):
            return None
        return route.worker_id, route.dp_rank, adapter, frozenset(self.avoid), self.alone
