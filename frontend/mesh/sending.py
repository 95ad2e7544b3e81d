"""An offer goes out: to the rank that the router chooses, or to two of them, a leg each."""

import asyncio
from collections.abc import Callable
from time import perf_counter

from msgspec import Struct
from msgspec.structs import replace

from frontend.fleet.allowance import Allowance
from frontend.fleet.encoders import Encoders
from frontend.fleet.model_entry import DECODE, PREFILL, ModelEntry
from frontend.fleet.partings import Partings
from frontend.fleet.rank import Rank
from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Notified, Wakeup
from frontend.fleet.worker import Worker
from frontend.mesh.candidates import Candidates, Ranks, meeting, met_by, with_room, without
from frontend.mesh.encoding import EncodeLeg, encode_leg, encoder_for, without_pictures
from frontend.mesh.following import Following
from frontend.mesh.offer import Offer
from frontend.mesh.pairing import ROOM_BITS, Partner, legs_of
from frontend.mesh.wire import MeshWire
from frontend.observe.decision_parts import EVERY
from frontend.observe.router_metrics import RouterMetrics
from frontend.routing.route import Placement, RouteRequest
from frontend.routing.router import Router
from protocol.errors import MeshError, Overloaded
from protocol.generation import Generate
from protocol.requests import Asked, Work, tokens_of


class Sent(Struct, frozen=True):
    """A Sent is a request that was sent and booked.

    Attributes:
        worker: generates the answer.
        helpers: compute the prompt, or encode its pictures, where `worker` does not.
        unreached: could not be sent its leg.
    """

    stream: RequestStream
    worker: Worker
    helpers: tuple[Worker, ...] = ()
    unreached: Worker | None = None


class Sender:
    """A Sender puts requests on the wire and books what they take of their ranks.

    Args:
        encoders: may encode the pictures of requests.
        partings: told of each cache that was handed over.
        give_up: ends a request of several legs, for a reason, on account of the worker of that id.
        resume: takes what a stream held back.
        chance: so many random bits.
        disagg_min_prompt: tokens of a prompt to be computed from which on it runs in two legs,
        where one worker could run it too.
    Attributes:
        following: keeps back who shares what another one has yet to compute.
    """

    def __init__(
        self,
        wire: MeshWire,
        router: Router,
        metrics: RouterMetrics,
        give_up: Callable[[RequestStream, MeshError, str], None],
        resume: Callable[[RequestStream], None],
        *,
        encoders: Encoders,
        partings: Partings,
        chance: Callable[[int], int],
        disagg_min_prompt: int,
    ) -> None:
        self._wire = wire
        self._router = router
        self._metrics = metrics
        self._encoders = encoders
        self._partings = partings
        self._give_up = give_up
        self.following = Following(wire, give_up, on=router.mode == "kv")
        self._resume = resume
        self._chance = chance
        self._disagg_min_prompt = disagg_min_prompt
        self._loop = asyncio.get_running_loop()
        self._routed_at = self._routing_s = 0.0
        """Say of the last decision when it was made, and how long that took."""
        self._until_apart = EVERY if router.mode == "kv" else 0
        """Counts the choices down to the one that is taken apart; below 0 none is."""

    def send(
        self, entry: ModelEntry, found: Candidates, offer: Offer, wakeup: Wakeup
    ) -> Sent | None:
        """Send a request now; None when none of its candidates has room.

        Raises:
            Overloaded: it is to wait on a worker, and none has room in its queue.
        """
        if not found.in_two_legs:
            return self._send_whole(entry, found, offer, wakeup)
        if found.whole and not self._is_long(found.whole, offer.route):
            return self._send_whole(entry, found, offer, wakeup) or self._send_in_two_legs(
                entry, found, offer, wakeup
            )
        return self._send_in_two_legs(entry, found, offer, wakeup) or self._send_whole(
            entry, found, offer, wakeup
        )

    def _is_long(self, whole: Ranks, route: RouteRequest) -> bool:
        """Tells whether a prompt is worth two legs, where one worker could run it too."""
        tokens = route.prompt_tokens
        return (
            tokens >= self._disagg_min_prompt
            and tokens - self._router.cached_tokens(whole, route) >= self._disagg_min_prompt
        )

    def _send_whole(
        self, entry: ModelEntry, found: Candidates, offer: Offer, wakeup: Wakeup
    ) -> Sent | None:
        route, request = offer.route, offer.request
        ranks = with_room(entry, found.whole, route, offer)
        while ranks:
            placement = self._choose(ranks, route)
            worker = entry.worker_of[placement.rank.worker_id]
            encoder, leg = None, request
            if self._encoders.workers:
                encoder = self._encoder_for(entry, offer, (worker,))
                leg = without_pictures(request, worker, encoder)
            leg = _at(leg, worker, placement)
            leader = None if encoder else self.following.leader_of(offer, placement)
            if leader is not None or self._wire.send(worker, leg):
                stream = self._stream(request, wakeup, placement)
                uncached_tokens = route.prompt_tokens - placement.cached_tokens
                _book(worker, stream, offer, uncached_tokens)
                self.following.note(leader, worker, offer, leg, stream)
                self._router.placed(placement, route, stream.sent_at)
                if encoder is None:
                    return Sent(stream, worker)
                unreached = self._encode(offer, stream, encoder, (worker,), (stream,))
                return Sent(stream, worker, (encoder,), unreached)
            # Its socket is gone or full: the next beat will tell which; meanwhile the others may
            # have room.
            ranks = without(ranks, {worker.worker_id})
        if offer.waits_there and not offer.admitted:
            raise Overloaded("The queues of all workers are full. Please retry later.")
        return None

    def _send_in_two_legs(
        self, entry: ModelEntry, found: Candidates, offer: Offer, wakeup: Wakeup
    ) -> Sent | None:
        request, first, second = offer.request, offer.route.of_prefill(), offer.route.of_decode()
        assert isinstance(request, Generate), "no other work is divided"
        prefills = with_room(entry, found.prefill, first, offer, PREFILL)
        decodes = with_room(entry, found.decode, second, offer, DECODE)
        while decodes and (prefills := meeting(prefills, decodes, found.apart)):
            prefill = self._choose(prefills, first)
            prefill_worker = entry.worker_of[prefill.rank.worker_id]
            decode = self._choose(met_by(prefill_worker.worker_id, decodes, found.apart), second)
            worker = entry.worker_of[decode.rank.worker_id]
            both = prefill_worker, worker
            encoder = self._encoder_for(entry, offer, both)
            legs = legs_of(request, prefill_worker, prefill.rank, self._chance(ROOM_BITS))
            leg = without_pictures(legs[0], prefill_worker, encoder)
            if not self._wire.send(prefill_worker, _at(leg, prefill_worker, prefill)):
                prefills = without(prefills, {prefill_worker.worker_id})
                continue
            leg = without_pictures(legs[1], worker, encoder)
            sent = self._wire.send(worker, _at(leg, worker, decode))
            stream = self._stream(legs[1], wakeup, decode, prefill)
            if request.logprobs is not None and request.logprobs.of_prompt:
                stream.held = []
            partner = Partner(stream, self._give_up, self._resume, self._partings.came_over)
            partner.prefill = self._stream(legs[0], partner, prefill)
            stream.helpers = (partner.prefill,)
            uncached_tokens = first.prompt_tokens - prefill.cached_tokens
            _book(prefill_worker, partner.prefill, offer, uncached_tokens)
            _book(worker, stream, offer, 0, first.prompt_tokens)
            self._router.placed(prefill, first, stream.sent_at)
            self._router.placed(decode, second, stream.sent_at)
            deaf = self._encode(offer, stream, encoder, both, (partner.prefill, stream))
            helpers = (prefill_worker, encoder) if encoder else (prefill_worker,)
            return Sent(stream, worker, helpers, deaf if sent else worker)
        return None

    def _encoder_for(
        self, entry: ModelEntry, offer: Offer, workers: tuple[Worker, ...]
    ) -> Worker | None:
        return encoder_for(self._encoders, entry, offer, workers, self._loop.time())

    def _encode(
        self,
        offer: Offer,
        answer: RequestStream,
        encoder: Worker | None,
        workers: tuple[Worker, ...],
        legs: tuple[RequestStream, ...],
    ) -> Worker | None:
        """Has pictures encoded for workers that were sent these legs of the request; returns the
        encoder if it cannot be reached.
        """
        if encoder is None:
            return None
        for each in legs:
            each.fetches_from = encoder.worker_id
        leg = encode_leg(offer.request, workers)
        told = EncodeLeg(answer, self._give_up, self._metrics.encoding.note)
        told.stream = self._stream(leg, told, Placement(encoder.ranks[0], 0))
        answer.helpers += (told.stream,)
        _book(encoder, told.stream, offer, tokens_of(leg))
        return None if self._wire.send(encoder, leg) else encoder

    def _choose(self, ranks: Ranks, route: RouteRequest) -> Placement[Rank]:
        begun_s = perf_counter()
        placement = self._router.choose(ranks, route, self._loop.time())
        self._routed_at = perf_counter()
        self._routing_s = self._routed_at - begun_s
        self._metrics.count_decision(self._router.mode, self._routing_s)
        self._until_apart -= 1
        if not self._until_apart:
            self._take_apart(ranks, route)
        return placement

    def _take_apart(self, ranks: Ranks, route: RouteRequest) -> None:
        self._until_apart = EVERY
        again = route.followed_by(b"")  # which is not hashed yet
        sizes = {rank.block_size_tokens for rank in ranks}
        self._metrics.decision_parts.note(
            self._routing_s,
            do_hash=lambda: [again.blocks(size) for size in sizes],
            do_find=lambda: self._router.cached_tokens(ranks, again),
        )

    def _stream(
        self,
        request: Work,
        wakeup: Notified,
        placement: Placement[Rank],
        prefill: Placement[Rank] | None = None,
    ) -> RequestStream:
        stream = RequestStream(
            request.request_id,
            wakeup,
            placement,
            prefill_placement=prefill,
            sent_at=self._loop.time(),
            allowance=Allowance(request),
            told_at_once=isinstance(request, Generate) and request.stream,
            gap_bounds=self._metrics.gap_bounds,
        )
        stream.routed_at, stream.routing_s = self._routed_at, self._routing_s
        return stream


def _book(
    worker: Worker, stream: RequestStream, offer: Offer, prefill: int, kv: int | None = None
) -> None:
    """Count a leg on its rank: tokens that it computes there, and those of the cache if others."""
    worker.book(
        stream,
        stream.placement.rank,
        prefill,
        kv,
        priority=offer.request.priority,
        suspect=offer.alone,
    )


def _at(request: Asked, worker: Worker, placement: Placement[Rank]) -> Asked:
    """Returns the request for one of a worker's ranks, named where there are several."""
    if len(worker.ranks) == 1:
        return request
    return replace(request, routed_dp_rank=placement.rank.dp_rank)
