"""Has a request find its rank, run there and end there."""

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import msgspec

from frontend.fleet.allowance import Allowance
from frontend.fleet.booking import Booking
from frontend.fleet.model_entry import WHOLE, ModelEntry
from frontend.fleet.rank import Rank
from frontend.fleet.registry import Hope, Registry
from frontend.fleet.stream import RequestStream, Wakeup
from frontend.fleet.worker import Worker
from frontend.mesh.bystanders import bystanders
from frontend.mesh.wire import MeshWire
from frontend.observe.router_metrics import RouterMetrics
from frontend.routing.holding import open_ranks
from frontend.routing.route import Placement, RouteRequest
from frontend.routing.router import Router
from frontend.routing.waiting_memory import waiting_bytes
from protocol.errors import (
    DeadlineExceeded,
    InternalFault,
    LossCause,
    ModelNotFound,
    NoWorker,
    WorkerLost,
)
from protocol.membership import Stage
from protocol.replies import Delta, StepBatch
from protocol.requests import Abort, Work

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """An Offer is a request to run, with its wishes of the router and the workers it must not go
    to.

    Attributes:
        avoid: ids of workers that have refused it.
        alone: a worker may have died of it, so no two of its kind go to one worker until they are
        cleared.
        admitted: some of it has been served, so it comes before whoever has not been, and is not
        refused for want of a place.
        stage: of the workers that may run it.
    """

    request: Work
    route: RouteRequest
    avoid: AbstractSet[str] = frozenset()
    alone: bool = False
    admitted: bool = False
    stage: Stage = WHOLE

    @property
    def lane(self) -> Hashable:
        """Says whom it waits behind: those that the same ranks will do for. None: any rank will
        do.
        """
        route, adapter = self.route, self.request.lora_name
        if not (route.pinned or self.avoid or self.alone or adapter):
            return None
        return route.worker_id, route.dp_rank, adapter, frozenset(self.avoid), self.alone


def may_come(offer: Offer, hopes: Iterable[Hope]) -> bool:
    """Returns whether a worker hoped for, if it comes, may take a request that none takes now."""
    wanted, adapter = offer.route.worker_id, offer.request.lora_name
    return any(
        hope.worker_id not in offer.avoid
        and wanted in (None, hope.worker_id)
        and (adapter is None or hope.adapters is None or adapter in hope.adapters)
        for hope in hopes
    )


class Dispatch:
    """Dispatch owns every request of this frontend that is running on some worker.

    Everything here runs on the event loop and never waits on a socket.

    Args:
        unix_s: wall clock, against which deadlines are meant.
    """

    def __init__(
        self,
        registry: Registry,
        wire: MeshWire,
        router: Router,
        metrics: RouterMetrics,
        unix_s: Callable[[], float],
    ) -> None:
        self.registry = registry
        self.unix_s = unix_s
        self._wire = wire
        self._router = router
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._placed: dict[str, Worker] = {}
        self._hoping: set[ModelEntry] = set()
        """Holds the models of which somebody waits for a worker that may come."""

    async def place(self, entry: ModelEntry, offer: Offer, wakeup: Wakeup) -> RequestStream:
        """Sends a request to the rank that the router chooses, waiting in the admission queue while
        none has room.

        Raises:
            NoWorker: nobody (else) serves the model now, nor will soon, as far as can be told.
            InvalidRequest: it asks for a worker that does not serve it.
            DeadlineExceeded: the time by which it had to begin has passed.
            Overloaded: the queue is full, or load is shed and no rank had room in time.
        """
        asked_at_s = perf_counter()  # the loop's own clock stands still within a turn
        stream = await entry.queue.admit(
            partial(self._try, entry, offer, wakeup),
            undo=self.abort,
            priority=offer.request.priority,
            lane=offer.lane,
            admitted=offer.admitted,
            size_bytes=waiting_bytes(offer.route.prompt_tokens),
        )
        stream.queue_s = perf_counter() - asked_at_s
        self._metrics.queue_seconds.observe(stream.queue_s)
        return stream

    def abort(self, stream: RequestStream) -> None:
        """Stops a request that nobody waits for any more.

        Its credit returns at once; late tokens are ignored.
        """
        worker = self._placed.get(stream.request_id)
        if worker is not None and not stream.ended:
            self._release(worker, stream.request_id)
            self._send_abort(worker, stream.request_id)

    def take_step(self, worker: Worker, step: StepBatch) -> None:
        """Hands each request what one step of a worker's engine gave it."""
        bookings = worker.bookings
        for delta in step.deltas:
            booking = bookings.get(delta.request_id)
            if booking is None:
                continue  # aborted by us a moment ago
            try:
                self._take(worker, booking, delta)
            except Exception:
                log.exception("request %s ends, since its output cannot be taken", delta.request_id)
                booking.stream.fail(InternalFault("The frontend failed on this request."))
                self._release(worker, delta.request_id)
                if delta.end is None:
                    self._send_abort(worker, delta.request_id)

    def note_room(self, worker: Worker) -> None:
        """Lets the head of a model's queue try, since one of its workers may have room."""
        entry = self.registry.entry_of(worker)
        if entry is not None:
            entry.queue.room()

    def fail_all(self, worker: Worker, cause: LossCause) -> None:
        """Gives up all that runs on a worker; whoever waits for it moves it elsewhere."""
        innocent = bystanders(worker.bookings.values(), worker.heard_at)
        for request_id in list(worker.bookings):
            stream = self._release(worker, request_id)
            # A worker that was only slow finds these when it wakes, and stops what nobody waits
            # for.
            self._send_abort(worker, request_id)
            if stream is not None:
                bystander = request_id in innocent
                stream.fail(
                    WorkerLost(
                        "The worker that ran this request was lost.",
                        cause=cause,
                        bystander=bystander,
                    )
                )

    def let_hopes_try(self) -> None:
        """Lets whoever waits for a worker that may come look whether there is still one."""
        hoping, self._hoping = self._hoping, set()
        for entry in hoping:
            entry.queue.room()

    def send_owed_aborts(self, worker: Worker) -> None:
        """Sends a worker those aborts that found no room before."""
        for request_id in sorted(worker.aborts_owed):
            if self._wire.send(worker, Abort(request_id)):
                worker.aborts_owed.discard(request_id)

    def _try(self, entry: ModelEntry, offer: Offer, wakeup: Wakeup) -> RequestStream | None:
        """Sends a request now; returns None when no rank has room."""
        if not offer.admitted and offer.request.deadline_unix_ms < self.unix_s() * 1000:
            raise DeadlineExceeded(
                "The request waited so long for a worker that its answer could not be "
                "finished in time."
            )
        ranks = _without(entry.pool(offer.stage), offer.avoid)
        adapter = offer.request.lora_name
        if adapter is not None:
            ranks = [rank for rank in ranks if adapter in entry.worker_of[rank.worker_id].adapters]
            if not ranks and not offer.admitted and adapter not in entry.adapters:
                raise ModelNotFound(
                    f"The LoRA adapter {adapter!r} is not loaded here.", param="model"
                )
        if not ranks:
            hopes = self.registry.hopes(entry, self._loop.time(), patient=offer.admitted)
            if may_come(offer, hopes):
                self._hoping.add(entry)
                return None
            raise NoWorker(f"No worker serves the model {entry.served.card.name!r} at the moment.")
        eligible = self._router.eligible(ranks, offer.route)
        full = {
            worker_id
            for worker_id, worker in entry.worker_of.items()
            if not worker.has_room(alone=offer.alone)
        }
        choice = open_ranks(
            _without(eligible, full),
            offer.route.prompt_tokens,
            choices=len(eligible),
            sheds=entry.queue.sheds,
        )
        while choice:
            now, begun_s = self._loop.time(), perf_counter()
            placement = self._router.choose(choice, offer.route, now)
            self._metrics.decision_seconds.observe(perf_counter() - begun_s)
            worker = entry.worker_of[placement.rank.worker_id]
            stream = self._send(worker, placement, offer, wakeup)
            if stream is not None:
                entry.queue.note_sent()
                self._router.placed(placement, offer.route, now)
                return stream
            # Its socket is gone or full: the next beat will tell which; meanwhile the others may
            # have room.
            choice = _without(choice, {worker.worker_id})
        return None

    def _send(
        self, worker: Worker, placement: Placement[Rank], offer: Offer, wakeup: Wakeup
    ) -> RequestStream | None:
        request = offer.request
        if len(worker.ranks) > 1:
            request = msgspec.structs.replace(request, routed_dp_rank=placement.rank.dp_rank)
        if not self._wire.send(worker, request):
            return None
        allowance = Allowance(request)
        stream = RequestStream(
            request.request_id, wakeup, placement, sent_at=self._loop.time(), allowance=allowance
        )
        uncached_tokens = offer.route.prompt_tokens - placement.cached_tokens
        worker.book(
            stream, placement.rank, uncached_tokens, priority=request.priority, suspect=offer.alone
        )
        self._placed[request.request_id] = worker
        self._metrics.decisions.labels(self._router.mode).inc()
        return stream

    def _release(self, worker: Worker, request_id: str) -> RequestStream | None:
        self._placed.pop(request_id, None)
        stream = worker.release(request_id)
        entry = self.registry.entry_of(worker)
        if entry is not None:
            if stream is not None:
                entry.queue.note_end(self._loop.time() - stream.sent_at)
            entry.queue.room()
        return stream

    def _send_abort(self, worker: Worker, request_id: str) -> None:
        if not self._wire.send(worker, Abort(request_id)):
            worker.aborts_owed.add(request_id)

    def _take(self, worker: Worker, booking: Booking, delta: Delta) -> None:
        stream = booking.stream
        if not stream.tokens_received and delta.token_ids:
            booking.note_token()
            stream.begun_at = self._loop.time()
            self.note_room(worker)  # its prompt is computed
        stream.push(delta)
        if stream.ended:
            self._release(worker, delta.request_id)
            if stream.finished is not None:
                self._metrics.count_finished(stream.finished, stream.placement)
            elif delta.end is None:  # we gave it up, the engine does not know
                self._send_abort(worker, delta.request_id)
        elif worker.suspects and worker.clear_suspect(stream):
            self.note_room(worker)


def _without(ranks: Sequence[Rank], worker_ids: AbstractSet[str]) -> Sequence[Rank]:
    """Returns the ranks of other workers than these."""
    return [rank for rank in ranks if rank.worker_id not in worker_ids] if worker_ids else ranks
