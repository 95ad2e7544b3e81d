"""The frontend's side of the mesh: workers come, beat and go; requests leave; tokens arrive.

Everything here runs on the event loop and never waits on a socket.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from time import perf_counter
from typing import Any

import msgspec

from frontend.fleet.rank import Booking, Rank
from frontend.fleet.registry import ModelEntry, Registry
from frontend.fleet.stream import RequestStream, Wakeup
from frontend.fleet.worker import Phase, Worker
from frontend.mesh.allowance import Allowance
from frontend.mesh.bystanders import bystanders
from frontend.mesh.introductions import turned_away
from frontend.mesh.joining import Joining, PrepareModel
from frontend.mesh.kv_sources import KvSources
from frontend.mesh.offer import Offer
from frontend.mesh.queries import Queries
from frontend.mesh.wire import MeshWire
from frontend.observe.metrics import FrontendMetrics
from frontend.routing.admission import AdmissionQueue
from frontend.routing.holding import open_ranks
from frontend.routing.route import Placement
from frontend.routing.router import Router
from frontend.routing.waiting_memory import waiting_bytes
from kv_events.index import BlockBudget
from kv_events.subscriber import KvSubscriber
from protocol.codec import ToFrontend
from protocol.errors import (
    DeadlineExceeded,
    InternalFault,
    LossCause,
    ModelNotFound,
    NoWorker,
    WorkerLost,
)
from protocol.limits import HEARTBEAT_INTERVAL_S, WORKER_SILENT_S_MAX
from protocol.membership import (
    AdapterList,
    Draining,
    Goodbye,
    Heartbeat,
    Hello,
    Loading,
    RelayHello,
)
from protocol.numbering import Arrival, Numbering
from protocol.replies import Delta, FileChunk, StepBatch, Tokenized
from protocol.requests import Abort, FrontendHeartbeat, HelloWanted, Welcome
from protocol.transport.pump import OpenRouter

log = logging.getLogger(__name__)


class Mesh:
    """Owns the registry and every request that is running somewhere.

    Args:
        open_router: opens the socket that workers connect to.
        subscriber: follows the workers' KV events; None if only this frontend's own decisions are
        to count.
        budget: of the blocks that all ranks together are known to hold.
        unix_s: wall clock, against which deadlines are meant.
    """

    def __init__(
        self,
        open_router: OpenRouter,
        *,
        frontend_id: str,
        prepare: PrepareModel,
        router: Router,
        subscriber: KvSubscriber | None,
        budget: BlockBudget,
        new_queue: Callable[[], AdmissionQueue],
        metrics: FrontendMetrics,
        unix_s: Callable[[], float],
    ) -> None:
        self.unix_s = unix_s
        self.registry = Registry(new_queue)
        self._router = router
        self._kv_sources = KvSources(subscriber, self.registry.serving)
        self._budget = budget
        self._frontend_id = frontend_id
        self._metrics = metrics
        self._placed: dict[str, Worker] = {}
        self._hoping: set[ModelEntry] = set()
        """Models of which somebody waits for a worker that may come, and has to hear it if none
        does.
        """
        self._loop = asyncio.get_running_loop()
        self._handlers: dict[type, Callable[[bytes, Worker | None, Any, int], None]] = {
            StepBatch: self._on_step,
            Heartbeat: self._on_heartbeat,
            Hello: self._on_hello,
            AdapterList: self._on_adapters,
            RelayHello: self._on_relay_hello,
            Loading: self._on_loading,
            Draining: self._on_draining,
            Goodbye: self._on_goodbye,
            FileChunk: self._on_file_chunk,
            Tokenized: self._on_tokenized,
        }
        self._wire = MeshWire(
            open_router,
            on_message=self._on_message,
            on_gone=self._on_gone,
            on_malformed=metrics.malformed_messages.inc,
        )
        self.queries = Queries(self.registry, self._wire.send, unix_s)
        self._joining = Joining(
            self.registry,
            self._wire,
            prepare,
            frontend_id=frontend_id,
            on_joined=self._kv_sources.worker_joined,
        )
        self._beat = self._loop.call_later(HEARTBEAT_INTERVAL_S, self._on_beat)

    async def close(self) -> None:
        """Stop; what still runs fails with WorkerLost."""
        self._beat.cancel()
        for worker in list(self.registry.workers.values()):
            self._lose(worker, "stopped", "the frontend is stopping")
        await self._joining.close()
        self._wire.close()

    async def dispatch(self, entry: ModelEntry, offer: Offer, wakeup: Wakeup) -> RequestStream:
        """Send a request to the rank that the router chooses, waiting in the admission queue while
        none has room.

        Raises:
            NoWorker: nobody (else) serves the model now, nor will soon, as far as can be told.
            InvalidRequest: it asks for a worker that does not serve it.
            DeadlineExceeded: the time by which it had to begin has passed.
            Overloaded: the queue is full, or load is shed and no rank had room in time.
        """
        asked_at_s = perf_counter()  # the loop's own clock stands still within a turn
        stream = await entry.queue.admit(
            partial(self._place, entry, offer, wakeup),
            undo=self.abort,
            priority=offer.request.priority,
            lane=offer.lane,
            admitted=offer.admitted,
            size_bytes=waiting_bytes(offer.route.prompt_tokens),
        )
        stream.queue_s = perf_counter() - asked_at_s
        self._metrics.router.queue_seconds.observe(stream.queue_s)
        return stream

    def abort(self, stream: RequestStream) -> None:
        """Stop a request that nobody waits for any more.

        Its credit returns at once; late tokens are ignored.
        """
        worker = self._placed.get(stream.request_id)
        if worker is not None and not stream.ended:
            self._release(worker, stream.request_id)
            self._send_abort(worker, stream.request_id)

    def _place(self, entry: ModelEntry, offer: Offer, wakeup: Wakeup) -> RequestStream | None:
        """Send a request now; None when no rank has room."""
        if not offer.admitted and offer.request.deadline_unix_ms < self.unix_s() * 1000:
            raise DeadlineExceeded(
                "The request waited so long for a worker that its answer could not be "
                "finished in time."
            )
        ranks = _without(entry.ranks, offer.avoid)
        adapter = offer.request.lora_name
        if adapter is not None:
            ranks = [rank for rank in ranks if adapter in entry.worker_of[rank.worker_id].adapters]
            if not ranks and not offer.admitted and adapter not in entry.adapters:
                raise ModelNotFound(
                    f"The LoRA adapter {adapter!r} is not loaded here.", param="model"
                )
        if not ranks:
            if self.registry.may_come(entry, offer, self._loop.time()):
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
            self._metrics.router.decision_seconds.observe(perf_counter() - begun_s)
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
        self._metrics.router.decisions.labels(self._router.mode).inc()
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

    def _note_room(self, worker: Worker) -> None:
        entry = self.registry.entry_of(worker)
        if entry is not None:
            entry.queue.room()

    def _send_abort(self, worker: Worker, request_id: str) -> None:
        if not self._wire.send(worker, Abort(request_id)):
            worker.aborts_owed.add(request_id)

    def _on_message(self, identity: bytes, message: ToFrontend, numbers: tuple[int, int]) -> None:
        session, number = numbers
        worker = self.registry.workers.get(identity)
        if worker is not None and not isinstance(message, Hello):
            arrival = worker.numbering.arrived(session, number)
            if arrival is Arrival.STALE:
                return
            if arrival is Arrival.GAP:
                self._lose(worker, "out_of_step", "messages were lost")
                self._wire.tell(identity, HelloWanted(session))
                return
            worker.heard_at = self._loop.time()
        self._handlers[type(message)](identity, worker, message, session)

    def _on_step(self, _: bytes, worker: Worker | None, step: StepBatch, __: int) -> None:
        if worker is None:
            return
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

    def _take(self, worker: Worker, booking: Booking, delta: Delta) -> None:
        stream = booking.stream
        if not stream.tokens_received and delta.token_ids:
            booking.note_token()
            stream.begun_at = self._loop.time()
            self._note_room(worker)  # its prompt is computed
        stream.push(delta)
        if stream.ended:
            self._release(worker, delta.request_id)
            if stream.finished is not None:
                self._metrics.router.count_finished(stream.finished, stream.placement)
            elif delta.end is None:  # we gave it up, the engine does not know
                self._send_abort(worker, delta.request_id)
        elif worker.suspects and worker.clear_suspect(stream):
            self._note_room(worker)

    def _on_heartbeat(
        self, identity: bytes, worker: Worker | None, heartbeat: Heartbeat, session: int
    ) -> None:
        if worker is None and self._kv_sources.relay_beat(identity, heartbeat, self._loop.time()):
            self._wire.tell(identity, self._heartbeat())
        elif worker is None or worker.hello.epoch != heartbeat.epoch:
            self._wire.tell(identity, HelloWanted(session))
        else:
            worker.report(heartbeat, self._loop.time())
            self._note_room(worker)  # other frontends' requests may have ended
            self._judge_health(worker, heartbeat.unhealthy)

    def _judge_health(self, worker: Worker, unhealthy: str) -> None:
        """A worker whose engine does not answer gets nothing; what it runs moves as soon as there
        is somewhere to move to.
        """
        if unhealthy != worker.unhealthy:
            if bool(unhealthy) != bool(worker.unhealthy):
                log.warning(
                    "worker %s is %s",
                    worker.worker_id,
                    f"unhealthy: {unhealthy}" if unhealthy else "healthy again",
                )
                self._metrics.losses.count_unhealthy(bool(unhealthy))
                worker.unhealthy_since = self._loop.time()
            worker.unhealthy = unhealthy
            self.registry.refresh(worker)
        entry = self.registry.entry_of(worker)
        if unhealthy and worker.bookings and entry is not None and entry.ranks:
            self._fail_all(worker, "unhealthy")

    def _on_hello(self, identity: bytes, worker: Worker | None, hello: Hello, session: int) -> None:
        if worker is not None:
            if session <= worker.numbering.session and (session or worker.phase is Phase.JOINING):
                return  # repeated, late, or an answer to a HelloWanted that crossed with it
            self._lose(worker, "restarted", "it introduced itself anew: it had given us up")
        refusal = turned_away(self.registry, identity, hello, self._loop.time())
        if refusal is not None:
            self._wire.tell(identity, refusal)
            return
        namesake = self.registry.namesake(hello.worker_id)
        if namesake is not None:
            same = namesake.hello.epoch == hello.epoch
            self._lose(
                namesake, "restarted" if same else "died", "a newer connection took its place"
            )
        worker = Worker(
            identity, hello, self._loop.time(), self._budget, Numbering(session, received=1)
        )
        self.registry.connect(worker)
        # it must know our clock before the first deadline
        self._wire.send(worker, self._heartbeat())
        self._joining.begin(worker)

    def _on_adapters(self, _: bytes, worker: Worker | None, adapters: AdapterList, __: int) -> None:
        if worker is not None:
            self.registry.set_adapters(worker, adapters.names)

    def _on_relay_hello(
        self, identity: bytes, _: Worker | None, hello: RelayHello, __: int
    ) -> None:
        refusal = self._kv_sources.relay_hello(identity, hello, self._loop.time())
        self._wire.tell(identity, refusal or Welcome(self._frontend_id))

    def _on_loading(self, _: bytes, __: Worker | None, loading: Loading, ___: int) -> None:
        self.registry.note_loading(loading, self._loop.time())

    def _on_draining(self, identity: bytes, worker: Worker | None, _: Draining, __: int) -> None:
        if worker is not None:
            log.info("worker %s drains", worker.worker_id)
            self._metrics.losses.drains.inc()
            self.registry.drain(worker)
        else:
            self.registry.missed.gone(identity)

    def _on_goodbye(self, identity: bytes, worker: Worker | None, goodbye: Goodbye, _: int) -> None:
        if worker is not None:
            self._lose(
                worker,
                "stopped" if goodbye.planned else "died",
                goodbye.reason or "it said goodbye",
            )
        else:
            self.registry.missed.gone(identity)
            self._kv_sources.relay_left(identity)

    def _on_file_chunk(self, identity: bytes, _: Worker | None, chunk: FileChunk, __: int) -> None:
        self._joining.take_chunk(identity, chunk)

    def _on_tokenized(self, _: bytes, worker: Worker | None, answer: Tokenized, __: int) -> None:
        self.queries.take(worker, answer)

    def _on_gone(self, identity: bytes) -> None:
        """ZMQ has no connection of this identity any more: a process that dies closes it, and the
        next beat finds out.
        """
        worker = self.registry.workers.get(identity)
        if worker is None:
            self.registry.missed.gone(identity)
        elif any(self._wire.tell(way, HelloWanted()) for way in worker.other_ways):
            self._lose(worker, "out_of_step", "its connection is gone, and it has another one")
        else:
            self._lose(worker, "died", "its connection is gone")

    def _on_beat(self) -> None:
        now = self._loop.time()
        # A beat that comes late means that this loop stood still: what the workers said meanwhile
        # is still unread.
        stalled = now - self._beat.when() > HEARTBEAT_INTERVAL_S
        self._beat = self._loop.call_at(now + HEARTBEAT_INTERVAL_S, self._on_beat)
        beat = self._heartbeat()
        for worker in list(self.registry.workers.values()):
            try:
                self._beat_for(worker, beat, now, stalled=stalled)
            except Exception:
                # the others get theirs
                log.exception("defect in the heartbeat to worker %s", worker.worker_id)
        for missed in self.registry.missed:  # whoever is gone meanwhile is no hope any more
            self._wire.tell(missed.identity, HelloWanted(missed.session))
        if not stalled:
            self._kv_sources.drop_silent_relays(now)
            self.registry.missed.expire(now)
            hoping, self._hoping = self._hoping, set()
            for entry in hoping:
                entry.queue.room()

    def _heartbeat(self) -> FrontendHeartbeat:
        return FrontendHeartbeat(int(1000 * self.unix_s()))

    def _beat_for(
        self, worker: Worker, beat: FrontendHeartbeat, now: float, *, stalled: bool
    ) -> None:
        for request_id in sorted(worker.aborts_owed):
            if self._wire.send(worker, Abort(request_id)):
                worker.aborts_owed.discard(request_id)
        self._wire.send(worker, beat)
        if stalled:
            worker.heard_at = max(worker.heard_at, now - HEARTBEAT_INTERVAL_S)
        elif now - worker.heard_at > WORKER_SILENT_S_MAX:
            self._lose(worker, "silent", f"nothing heard from it for {WORKER_SILENT_S_MAX} s")
            return
        worker.on_time(now)

    def _lose(self, worker: Worker, cause: LossCause, reason: str) -> None:
        log.info("worker %s left: %s", worker.worker_id, reason)
        self._metrics.losses.workers.labels(cause).inc()
        self._joining.give_up(worker)
        self.queries.worker_left(worker)
        self._fail_all(worker, cause)
        self._kv_sources.worker_left(worker)
        self.registry.leave(worker)
        self.registry.missed.note(worker, cause, self._loop.time())

    def _fail_all(self, worker: Worker, cause: LossCause) -> None:
        """Give up all that runs on a worker; whoever waits for it moves it elsewhere."""
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


def _without(ranks: Sequence[Rank], worker_ids: AbstractSet[str]) -> Sequence[Rank]:
    """The ranks of other workers than these."""
    return [rank for rank in ranks if rank.worker_id not in worker_ids] if worker_ids else ranks
