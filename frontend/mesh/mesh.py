"""The frontend's ROUTER: workers come, beat and go; requests leave; tokens arrive.

Everything here runs on the event loop and never waits on a socket. A message that is none is counted and dropped; the
socket lives on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from time import perf_counter
from typing import Any

import msgspec

from frontend.mesh.files import CannotServe, FileFetch
from frontend.mesh.kv_sources import KvSources
from frontend.mesh.rank import Rank
from frontend.mesh.registry import ModelEntry, Registry
from frontend.mesh.stream import RequestStream, Wakeup
from frontend.mesh.worker import Phase, Worker
from frontend.models import ServedModel
from frontend.observe.metrics import FrontendMetrics
from frontend.routing.admission import AdmissionQueue
from frontend.routing.route import Placement, Route
from frontend.routing.router import Router
from kv_events.index import BlockBudget
from kv_events.subscriber import KvSubscriber
from protocol.codec import decode_to_frontend, encode
from protocol.errors import NoWorker, ProtocolViolation, WorkerLost
from protocol.limits import HEARTBEAT_INTERVAL_S, WORKER_SILENT_S_MAX
from protocol.membership import CardFile, Draining, Goodbye, Heartbeat, Hello, Loading, RelayHello
from protocol.replies import FileChunk, StepBatch
from protocol.requests import Abort, FetchFile, FrontendHeartbeat, Generate, HelloWanted, Refused, ToWorker, Welcome
from protocol.sockets import Socket, SocketPump

log = logging.getLogger(__name__)

PrepareModel = Callable[[Hello, Callable[[CardFile], FileFetch]], Awaitable[ServedModel]]
"""Makes a model servable from a worker's Hello; gets a way to fetch files from that worker."""

WORKERS_MAX = 4_096
"""Connections that may say Hello; more is a mistake or an attack."""

FETCHES_MAX = 64
"""Files under way at once, over all joining workers."""

DUPLICATE_PAUSE_S = 2.0
"""A second worker of one name is sent away this long: the first is either alive, or noticed as dead by then."""

COMPLAINTS_S = 1.0
"""Between two log lines about malformed messages; all are counted."""


class Mesh:
    """Owns the ROUTER socket, the registry and every request that is running somewhere.

    Args:
        subscriber: follows the workers' KV events; None if only this frontend's own decisions are to count.
        budget: of the blocks that all ranks together are known to hold.
    """

    def __init__(
        self,
        socket: Socket,
        *,
        frontend_id: str,
        prepare: PrepareModel,
        router: Router,
        subscriber: KvSubscriber | None,
        budget: BlockBudget,
        new_queue: Callable[[], AdmissionQueue],
        metrics: FrontendMetrics,
    ) -> None:
        self.registry = Registry(new_queue)
        self._router = router
        self._kv_sources = KvSources(subscriber, self.registry.serving)
        self._budget = budget
        self._frontend_id = frontend_id
        self._prepare = prepare
        self._metrics = metrics
        self._complained_at = -COMPLAINTS_S
        self._placed: dict[str, Worker] = {}
        self._fetches: dict[tuple[bytes, str], FileFetch] = {}
        self._loop = asyncio.get_running_loop()
        self._joining: dict[bytes, asyncio.Task[None]] = {}
        self._handlers: dict[type, Callable[[bytes, Worker | None, Any], None]] = {
            StepBatch: self._on_step,
            Heartbeat: self._on_heartbeat,
            Hello: self._on_hello,
            RelayHello: self._on_relay_hello,
            Loading: self._on_loading,
            Draining: self._on_draining,
            Goodbye: self._on_goodbye,
            FileChunk: self._on_file_chunk,
        }
        self._pump = SocketPump(socket, self._on_message)
        self._beat = self._loop.call_later(HEARTBEAT_INTERVAL_S, self._on_beat)

    async def close(self) -> None:
        """Stop; what still runs fails with WorkerLost."""
        self._beat.cancel()
        joining = list(self._joining.values())
        for worker in list(self.registry.workers.values()):
            self._drop(worker, "the frontend is stopping")
        await asyncio.gather(*joining, return_exceptions=True)
        self._pump.close()

    async def dispatch(
        self, entry: ModelEntry, request: Generate, route: Route, wakeup: Wakeup, *, avoid: AbstractSet[str] = frozenset()
    ) -> RequestStream:
        """Send a request to the rank that the router chooses, waiting in the admission queue while none has room.

        Args:
            avoid: ids of workers that have failed this request before.
        Raises:
            NoWorker: nobody (else) serves the model now.
            InvalidRequest: it asks for a worker that does not serve it.
            Overloaded: the queue is full, or no rank had room in time.
        """
        attempt = partial(self._place, entry, request, route, wakeup, avoid)
        asked_at_s = perf_counter()  # the loop's own clock stands still within a turn
        stream = await entry.queue.admit(attempt, priority=request.priority, choosy=bool(route.pinned or avoid))
        stream.queue_s = perf_counter() - asked_at_s
        self._metrics.router.queue_seconds.observe(stream.queue_s)
        return stream

    def abort(self, stream: RequestStream) -> None:
        """Stop a request that nobody waits for any more. Its credit returns at once; late tokens are ignored."""
        worker = self._placed.get(stream.request_id)
        if worker is not None and not stream.ended:
            self._release(worker, stream.request_id)
            self._send_to(worker.identity, Abort(stream.request_id))

    def _place(self, entry: ModelEntry, request: Generate, route: Route, wakeup: Wakeup, avoid: AbstractSet[str]) -> RequestStream | None:
        """Send a request now; None when no rank has room."""
        ranks = _without(entry.ranks, avoid)
        if not ranks:
            raise NoWorker(f"No worker serves the model {entry.served.card.name!r} at the moment.")
        full = {worker_id for worker_id, worker in entry.worker_of.items() if not worker.has_credit}
        open_ranks = _without(self._router.eligible(ranks, route), full)
        while open_ranks:
            now, begun_s = self._loop.time(), perf_counter()
            placement = self._router.choose(open_ranks, route, now)
            self._metrics.router.decision_seconds.observe(perf_counter() - begun_s)
            worker = entry.worker_of[placement.rank.worker_id]
            stream = self._send(worker, placement, request, route, wakeup)
            if stream is not None:
                self._router.placed(placement, route, now)
                return stream
            # Its socket is gone or full: heartbeats will tell which; meanwhile the others may have room.
            open_ranks = _without(open_ranks, {worker.worker_id})
        return None

    def _send(self, worker: Worker, placement: Placement[Rank], request: Generate, route: Route, wakeup: Wakeup) -> RequestStream | None:
        rank = placement.rank
        if len(worker.ranks) > 1:
            request = msgspec.structs.replace(request, routed_dp_rank=rank.dp_rank)
        if not self._send_to(worker.identity, request):
            return None
        stream = RequestStream(request.request_id, wakeup, placement)
        worker.book(stream, rank, route.prompt_tokens - placement.cached_tokens)
        self._placed[request.request_id] = worker
        self._metrics.router.decisions.labels(self._router.mode).inc()
        return stream

    def _release(self, worker: Worker, request_id: str) -> RequestStream | None:
        self._placed.pop(request_id, None)
        stream = worker.release(request_id)
        entry = self.registry.entry_of(worker)
        if entry is not None:
            entry.queue.room()
        return stream

    def _send_to(self, identity: bytes, message: ToWorker) -> bool:
        return self._pump.send([identity, *encode(message)])

    def _on_message(self, frames: list[bytes]) -> None:
        identity = frames[0]
        try:
            message = decode_to_frontend(frames[1:])
        except ProtocolViolation as violation:
            self._complain(violation)
            return
        worker = self.registry.workers.get(identity)
        if worker is not None:
            worker.heard_at = self._loop.time()
        self._handlers[type(message)](identity, worker, message)

    def _complain(self, violation: ProtocolViolation) -> None:
        self._metrics.malformed_messages.inc()
        if self._loop.time() - self._complained_at >= COMPLAINTS_S:
            self._complained_at = self._loop.time()
            log.warning("dropped a malformed message: %s", violation.message[:200])

    def _on_step(self, _: bytes, worker: Worker | None, step: StepBatch) -> None:
        if worker is None:
            return
        bookings = worker.bookings
        for delta in step.deltas:
            booking = bookings.get(delta.request_id)
            if booking is None:
                continue  # aborted by us a moment ago
            stream = booking.stream
            if not stream.tokens_received:
                booking.note_token()
            stream.push(delta)
            if stream.ended:
                self._release(worker, delta.request_id)
                if stream.finished is not None:
                    self._metrics.router.count_finished(stream.finished, stream.placement)
                elif delta.end is None:  # we gave it up, the engine does not know
                    self._send_to(worker.identity, Abort(delta.request_id))

    def _on_heartbeat(self, identity: bytes, worker: Worker | None, heartbeat: Heartbeat) -> None:
        if worker is None and self._kv_sources.relay_beat(identity, heartbeat, self._loop.time()):
            self._send_to(identity, FrontendHeartbeat())
        elif worker is None or worker.hello.epoch != heartbeat.epoch:
            self._send_to(identity, HelloWanted())
        else:
            worker.report(heartbeat, self._loop.time())

    def _on_hello(self, identity: bytes, worker: Worker | None, hello: Hello) -> None:
        if worker is not None:
            if worker.phase is Phase.JOINING:
                return  # an answer to a HelloWanted that crossed with it
            self._drop(worker, "it introduced itself anew: it had given us up")
        if len(self.registry.workers) >= WORKERS_MAX:
            self._send_to(identity, Refused(f"this frontend has {WORKERS_MAX} workers already"))
            return
        namesake = self.registry.namesake(hello.worker_id)
        if namesake is not None:
            if namesake.hello.epoch != hello.epoch and self._loop.time() - namesake.heard_at <= WORKER_SILENT_S_MAX:
                log.error("two workers go by the name %s; the second is sent away", hello.worker_id)
                self._send_to(identity, Refused(f"another worker goes by the name {hello.worker_id!r}", pause_s=DUPLICATE_PAUSE_S))
                return
            self._drop(namesake, "a newer connection took its place")
        worker = Worker(identity, hello, self._loop.time(), self._budget)
        self.registry.connect(worker)
        self._joining[identity] = self._loop.create_task(self._join(worker))

    def _on_relay_hello(self, identity: bytes, _: Worker | None, hello: RelayHello) -> None:
        if self._kv_sources.relay_hello(identity, hello, self._loop.time()):
            self._send_to(identity, Welcome(self._frontend_id))
        else:
            self._send_to(identity, Refused("this frontend follows too many nodes already"))

    def _on_loading(self, _: bytes, __: Worker | None, loading: Loading) -> None:
        self.registry.note_loading(loading, self._loop.time())

    def _on_draining(self, _: bytes, worker: Worker | None, __: Draining) -> None:
        if worker is not None:
            log.info("worker %s drains", worker.worker_id)
            self.registry.drain(worker)

    def _on_goodbye(self, identity: bytes, worker: Worker | None, goodbye: Goodbye) -> None:
        if worker is not None:
            self._drop(worker, goodbye.reason or "it said goodbye")
        else:
            self._kv_sources.relay_left(identity)

    def _on_file_chunk(self, identity: bytes, _: Worker | None, chunk: FileChunk) -> None:
        fetch = self._fetches.get((identity, chunk.sha256))
        if fetch is not None:
            fetch.add(chunk)

    async def _join(self, worker: Worker) -> None:
        try:
            served = await self._prepare(worker.hello, partial(self._fetch, worker))
            reason = self.registry.conflict(worker)
            if reason is not None:
                self._refuse(worker, reason)
                return
            self.registry.serve(worker, served)
            self._kv_sources.worker_joined(worker)
            self._send_to(worker.identity, Welcome(self._frontend_id))
            log.info("worker %s serves %s (%s)", worker.worker_id, worker.hello.card.name, worker.hello.engine)
        except CannotServe as error:
            self._refuse(worker, str(error))
        except Exception:
            log.exception("cannot take worker %s", worker.worker_id)
            self._refuse(worker, "the frontend had an error while preparing the model")
        finally:
            if self._joining.get(worker.identity) is asyncio.current_task():
                del self._joining[worker.identity]
                for key in [key for key in self._fetches if key[0] == worker.identity]:
                    del self._fetches[key]

    def _fetch(self, worker: Worker, file: CardFile) -> FileFetch:
        if len(self._fetches) >= FETCHES_MAX:
            raise CannotServe("too many model files are being fetched at once")
        fetch = self._fetches[worker.identity, file.sha256] = FileFetch(file)
        self._send_to(worker.identity, FetchFile(file.sha256))
        return fetch

    def _refuse(self, worker: Worker, reason: str) -> None:
        log.warning("refused worker %s: %s", worker.worker_id, reason)
        self._send_to(worker.identity, Refused(reason))
        self.registry.leave(worker)

    def _on_beat(self) -> None:
        now = self._loop.time()
        # A beat that comes late means that this loop stood still: what the workers said meanwhile is still unread.
        stalled = now - self._beat.when() > HEARTBEAT_INTERVAL_S
        self._beat = self._loop.call_at(now + HEARTBEAT_INTERVAL_S, self._on_beat)
        beat = FrontendHeartbeat()
        for worker in list(self.registry.workers.values()):
            self._send_to(worker.identity, beat)
            worker.on_time(now)
            if stalled:
                worker.heard_at = max(worker.heard_at, now - HEARTBEAT_INTERVAL_S)
            elif now - worker.heard_at > WORKER_SILENT_S_MAX:
                self._drop(worker, f"nothing heard from it for {WORKER_SILENT_S_MAX} s")
        if not stalled:
            self._kv_sources.drop_silent_relays(now)

    def _drop(self, worker: Worker, reason: str) -> None:
        log.info("worker %s left: %s", worker.worker_id, reason)
        joining = self._joining.get(worker.identity)
        if joining is not None:
            joining.cancel()
        for request_id in list(worker.bookings):
            stream = self._release(worker, request_id)
            # A worker that was only slow finds these when it wakes, and stops what nobody waits for.
            self._send_to(worker.identity, Abort(request_id))
            if stream is not None:
                stream.fail(WorkerLost("The worker that ran this request was lost."))
        self._kv_sources.worker_left(worker)
        self.registry.leave(worker)


def _without(ranks: Sequence[Rank], worker_ids: AbstractSet[str]) -> Sequence[Rank]:
    """The ranks of other workers than these."""
    return [rank for rank in ranks if rank.worker_id not in worker_ids] if worker_ids else ranks
