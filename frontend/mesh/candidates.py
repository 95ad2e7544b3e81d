"""Which ranks may run a request, and which of them have room for it now."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from msgspec import Struct
from msgspec.structs import replace

from frontend.fleet.model_entry import DECODE, PREFILL, WHOLE, ModelEntry
from frontend.fleet.partings import NOBODY, Apart, apart_of
from frontend.fleet.rank import Rank
from frontend.mesh.offer import Offer
from frontend.routing.holding import open_ranks
from frontend.routing.route import RouteRequest
from protocol.membership import Stage

Ranks = Sequence[Rank]


class Candidates(Struct, frozen=True):
    """Candidates are the ranks that may run a request at all: from its prompt to its end, or a leg
    of it.

    Attributes:
        apart: which of `prefill` are not to be paired with which of `decode`.
        unmet: there would be some, if the request did not insist on others.
    """

    whole: Ranks
    prefill: Ranks = ()
    decode: Ranks = ()
    apart: Apart = NOBODY
    unmet: bool = False

    @property
    def in_two_legs(self) -> bool:
        """Tells whether the request may run in two legs."""
        return bool(self.prefill and self.decode)


def candidates(entry: ModelEntry, offer: Offer, apart: Callable[[], Apart]) -> Candidates:
    """Returns the ranks that have not refused the request, have its adapter, and that it does not
    exclude.

    Args:
        apart: tells who is to be paired only where nobody else is left.
    """
    route = offer.route
    if not (entry.divides or route.insists or offer.avoid or offer.request.lora_name):
        return Candidates(entry.pool(WHOLE))  # as nearly always
    whole, prefill, decode = (_able(entry, stage, offer) for stage in (WHOLE, PREFILL, DECODE))
    found = Candidates(
        [] if route.pins_prefill else _admitted(whole, route),
        _admitted(prefill, route.of_prefill()) if prefill else [],
        _admitted(decode, route),
    )
    if found.in_two_legs:
        return _paired(found, offer, apart())
    if found.whole:
        return found
    return Candidates((), unmet=bool(whole or (prefill and decode)))


def with_room(
    entry: ModelEntry, ranks: Ranks, route: RouteRequest, offer: Offer, stage: Stage = WHOLE
) -> Ranks:
    """Returns those of the candidates `ranks` to which the request, or the leg of it for workers of
    this stage, may be sent now.

    Legs wait here and not on an engine, where each gives up after a while what its other leg keeps
    waiting: they go to a prefill rank that would be busier with more, and to a decode rank that
    has a place to run them. Nothing is lost by that: no prompt is computed before its cache has
    got its pages.
    """
    return open_ranks(
        without(ranks, _without_room_for_suspects(entry) if offer.alone else entry.full),
        route.prompt_tokens,
        may_wait=(len(ranks) > 1 or stage != WHOLE) and not offer.waits_there,
        sheds=(entry.queue.sheds or stage == DECODE) and not offer.waits_there,
    )


def _without_room_for_suspects(entry: ModelEntry) -> AbstractSet[str]:
    """Returns the ids of workers that are full, or run a suspect already."""
    return {
        worker_id
        for worker_id, worker in entry.worker_of.items()
        if not worker.has_room(alone=True)
    }


def without(ranks: Ranks, worker_ids: AbstractSet[str]) -> Ranks:
    """Returns the ranks of other workers than these."""
    return [rank for rank in ranks if rank.worker_id not in worker_ids] if worker_ids else ranks


def meeting(prefill: Ranks, decode: Ranks, apart: Apart) -> Ranks:
    """Returns the prefill ranks that may be paired with one of these decode ranks at least."""
    return [rank for rank in prefill if met_by(rank.worker_id, decode, apart)] if apart else prefill


def met_by(prefill_id: str, decode: Ranks, apart: Apart) -> Ranks:
    """Returns the decode ranks that may be paired with a prefill worker."""
    return without(decode, apart[prefill_id]) if prefill_id in apart else decode


def _paired(found: Candidates, offer: Offer, apart: Apart) -> Candidates:
    """Returns the candidates without prefill ranks that are kept apart from all decode ranks: of
    others than it has failed with, if there are any. Who is of no use to one may be to nobody.
    """
    if not (apart or offer.parted):
        return found
    never = apart_of(offer.parted)
    both = {each: {*never.get(each, ()), *apart.get(each, ())} for each in {*never, *apart}}
    others = without(found.prefill, offer.shuns), without(found.decode, offer.shuns)
    for prefill, decode in (others, (found.prefill, found.decode)):
        if met := meeting(prefill, decode, both):
            return replace(found, prefill=met, decode=decode, apart=both)
    last = () if found.whole else meeting(found.prefill, found.decode, never)
    return replace(found, prefill=last, apart=never)


def _able(entry: ModelEntry, stage: Stage, offer: Offer) -> Ranks:
    ranks, adapter = without(entry.pool(stage), offer.avoid), offer.request.lora_name
    if adapter is None:
        return ranks
    return [rank for rank in ranks if adapter in entry.worker_of[rank.worker_id].adapters]


def _admitted(ranks: Ranks, route: RouteRequest) -> Ranks:
    return [rank for rank in ranks if route.admits(rank.key)] if route.pinned else ranks
