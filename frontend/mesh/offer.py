"""What is offered to the workers of a model, and whom it is worth waiting for."""

from collections.abc import Hashable, Iterable
from collections.abc import Set as AbstractSet

from msgspec import Struct

from frontend.fleet.hopes import Hope
from frontend.fleet.model_entry import PREFILL
from frontend.fleet.partings import Pair
from frontend.routing.route import RouteRequest
from protocol.diffusion import Diffuse
from protocol.requests import Asked


class Offer(Struct, frozen=True):
    """An Offer is what to run and where not to.

    Attributes:
        avoid: ids of workers that have refused it.
        parted: pairs of workers between which its cache was not handed over, and is not to be
        again.
        shuns: ids of workers that had a part in a hand-over of it that failed.
        alone: a worker may have died of it, so no two of its kind go to one worker until they are
        cleared.
        admitted: some of it has been served, so it comes before whoever has not been, and is not
        refused for want of a place.
        sees: whoever runs it encodes its pictures.
    """

    request: Asked
    route: RouteRequest
    avoid: AbstractSet[str] = frozenset()
    parted: AbstractSet[Pair] = frozenset()
    shuns: AbstractSet[str] = frozenset()
    alone: bool = False
    admitted: bool = False
    sees: bool = False

    @property
    def waits_there(self) -> bool:
        """Tells whether it waits on a worker and not here: a job, so that anybody can ask there
        about it, and any video, so that it has its turn among jobs.
        """
        request = self.request
        return isinstance(request, Diffuse) and bool(request.job_id or request.format == "mp4")

    @property
    def comes_first(self) -> bool:
        """Tells whether it comes before those that wait here: what waits on workers needs no rank
        that is free.
        """
        return self.admitted or self.waits_there

    @property
    def lane(self) -> Hashable:
        """Tells whom it waits behind: those that the same ranks will do for; None: any will do."""
        route, adapter = self.route, self.request.lora_name
        if not (route.insists or self.avoid or self.shuns or self.alone or adapter):
            return None
        kept_from = frozenset(self.avoid), frozenset(self.shuns), frozenset(self.parted)
        return route.pins, adapter, kept_from, self.alone


def may_come(offer: Offer, hopes: Iterable[Hope]) -> bool:
    """Tells whether one of these workers, if it comes, may take a request that none takes now."""
    route, adapter = offer.route, offer.request.lora_name
    return any(
        hope.worker_id not in offer.avoid
        and (route.prefill_worker_id if hope.stage == PREFILL else route.worker_id)
        in (None, hope.worker_id)
        and (adapter is None or hope.adapters is None or adapter in hope.adapters)
        for hope in hopes
    )
