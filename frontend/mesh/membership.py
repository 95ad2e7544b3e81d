"""Says what each message of workers, which come, beat and go, means for the fleet."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from frontend.fleet.registry import Registry
from frontend.fleet.worker import Phase, Worker
from frontend.mesh.dispatch import Dispatch
from frontend.mesh.introductions import replaced_as, turned_away
from frontend.mesh.joining import Joining, PrepareModel
from frontend.mesh.kv_sources import KvSources
from frontend.mesh.operated_workers import note_operated
from frontend.mesh.outputs import Answer, Outputs
from frontend.mesh.queries import Queries
from frontend.mesh.wire import MeshWire
from frontend.observe.loss_metrics import LossMetrics
from kv_events.index import BlockBudget
from kv_events.subscriber import KvSubscriber
from protocol.codec import ToFrontend
from protocol.diffusion import JobsTold, OutputChunk
from protocol.limits import HEARTBEAT_INTERVAL_S, WORKER_SILENT_S_MAX
from protocol.losses import LossCause
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
from protocol.replies import FileChunk, StepBatch, Tokenized
from protocol.requests import FrontendHeartbeat, HelloWanted, Welcome

log = logging.getLogger(__name__)


class Membership:
    """Membership keeps the registry in step with the workers that come, beat and go.

    Everything here runs on the event loop and never waits on a socket.

    Args:
        wire: is opened here, and closed.
        dispatch: is told of what happens to the workers that run its requests.
        queries: is told of workers' answers, and of workers that are lost.
        subscriber: follows the workers' KV events; None if only this frontend's own decisions are
        to count.
        budget: of the blocks that all ranks together are known to hold.
        welcome: what workers are told that are taken in.
        unix_s: wall clock, which workers are told.
        tell_loading: called with what workers say that load.
    """

    def __init__(
        self,
        registry: Registry,
        wire: MeshWire,
        dispatch: Dispatch,
        queries: Queries,
        outputs: Outputs,
        *,
        welcome: Welcome,
        prepare: PrepareModel,
        subscriber: KvSubscriber | None,
        budget: BlockBudget,
        losses: LossMetrics,
        unix_s: Callable[[], float],
        tell_loading: Callable[[Loading], None] | None = None,
    ) -> None:
        self._registry = registry
        self._wire = wire
        self._dispatch = dispatch
        self._queries = queries
        self._outputs = outputs
        self._kv_sources = KvSources(subscriber, registry.serving)
        self._budget = budget
        self._welcome = welcome
        self._tell_loading = tell_loading
        self._losses = losses
        self._unix_s = unix_s
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
            JobsTold: self._on_made,
            OutputChunk: self._on_made,
        }
        self._joining = Joining(
            registry,
            wire,
            prepare,
            queries.ask,
            welcome=welcome,
            on_joined=self._kv_sources.worker_joined,
        )
        wire.open(self._on_message, self._on_gone)
        self._beat = self._loop.call_later(HEARTBEAT_INTERVAL_S, self._on_beat)

    async def close(self) -> None:
        """Stops; what still runs fails with WorkerLost."""
        self._beat.cancel()
        for worker in list(self._registry.workers.values()):
            self._lose(worker, "stopped", "the frontend is stopping")
        await self._joining.close()
        self._wire.close()

    def _on_message(self, identity: bytes, message: ToFrontend, numbers: tuple[int, int]) -> None:
        session, number = numbers
        worker = self._registry.workers.get(identity)
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
        if worker is not None:
            self._dispatch.take_step(worker, step)

    def _on_heartbeat(
        self, identity: bytes, worker: Worker | None, heartbeat: Heartbeat, session: int
    ) -> None:
        if worker is None and self._kv_sources.relay_beat(identity, heartbeat, self._loop.time()):
            self._wire.tell(identity, self._heartbeat())
        elif worker is None or worker.hello.epoch != heartbeat.epoch:
            self._wire.tell(identity, HelloWanted(session))
        else:
            worker.report(heartbeat, self._loop.time())
            note_operated(worker, heartbeat, self._registry, self._loop.time())
            self._dispatch.note_room(worker)  # other frontends' requests may have ended
            self._judge_health(worker, heartbeat.unhealthy)

    def _judge_health(self, worker: Worker, unhealthy: str) -> None:
        """Keeps new work from a worker whose engine does not answer; what it runs moves as soon as
        there is somewhere to move to.
        """
        if unhealthy != worker.unhealthy:
            if bool(unhealthy) != bool(worker.unhealthy):
                log.warning(
                    "worker %s is %s",
                    worker.worker_id,
                    f"unhealthy: {unhealthy}" if unhealthy else "healthy again",
                )
                self._losses.count_unhealthy(bool(unhealthy))
                worker.unhealthy_since = self._loop.time()
            worker.unhealthy = unhealthy
            self._registry.refresh(worker)
        entry = self._registry.entry_of(worker)
        if unhealthy and worker.bookings and (entry is None or entry.ready):
            self._dispatch.fail_all(worker, "unhealthy")

    def _on_hello(self, identity: bytes, worker: Worker | None, hello: Hello, session: int) -> None:
        if worker is not None:
            if session <= worker.numbering.session and (session or worker.phase is Phase.JOINING):
                return  # repeated, late, or an answer to a HelloWanted that crossed with it
            self._lose(worker, "restarted", "it introduced itself anew: it had given us up")
        refusal = turned_away(self._registry, identity, hello, self._judged_at())
        if refusal is not None:
            self._wire.tell(identity, refusal)
            return
        namesake = self._registry.namesake(hello.worker_id)
        if namesake is not None:
            self._lose(namesake, replaced_as(namesake.hello, hello), "a newer one took its place")
        worker = Worker(
            identity, hello, self._loop.time(), self._budget, Numbering(session, received=1)
        )
        self._registry.connect(worker)
        # it must know our clock before the first deadline
        self._wire.send(worker, self._heartbeat())
        self._joining.begin(worker)

    def _on_adapters(self, _: bytes, worker: Worker | None, adapters: AdapterList, __: int) -> None:
        if worker is not None:
            self._registry.set_adapters(worker, adapters.names)

    def _on_relay_hello(
        self, identity: bytes, _: Worker | None, hello: RelayHello, __: int
    ) -> None:
        refusal = self._kv_sources.relay_hello(identity, hello, self._loop.time())
        self._wire.tell(identity, refusal or self._welcome)

    def _on_loading(self, _: bytes, __: Worker | None, loading: Loading, ___: int) -> None:
        self._registry.loading.note(loading, self._loop.time())
        if self._tell_loading is not None:
            self._tell_loading(loading)

    def _on_draining(self, identity: bytes, worker: Worker | None, _: Draining, __: int) -> None:
        if worker is not None:
            log.info("worker %s drains", worker.worker_id)
            self._losses.drains.inc()
            self._registry.drain(worker)
        else:
            self._registry.missed.gone(identity)

    def _on_goodbye(self, identity: bytes, worker: Worker | None, goodbye: Goodbye, _: int) -> None:
        if worker is not None:
            self._lose(
                worker,
                "stopped" if goodbye.planned else "died",
                goodbye.reason or "it said goodbye",
            )
        else:
            self._registry.missed.gone(identity)
            self._kv_sources.relay_left(identity)

    def _on_file_chunk(self, identity: bytes, _: Worker | None, chunk: FileChunk, __: int) -> None:
        self._joining.take_chunk(identity, chunk)

    def _on_tokenized(self, _: bytes, worker: Worker | None, answer: Tokenized, __: int) -> None:
        self._queries.take(worker, answer)

    def _on_made(self, _: bytes, worker: Worker | None, answer: Answer, __: int) -> None:
        self._outputs.take(worker, answer)

    def _on_gone(self, identity: bytes) -> None:
        """Looks for another connection of a worker, since the one of this identity is no more: a
        process that dies closes it.
        """
        worker = self._registry.workers.get(identity)
        if worker is None:
            self._registry.missed.gone(identity)
            return
        ways = (way for way in worker.other_ways if self._wire.tell(way, HelloWanted()))
        way = next(ways, None)
        if way is None:
            self._lose(worker, "died", "its connection is gone")
        else:
            self._lose(worker, "out_of_step", "its connection is gone, and it has another one")
            self._registry.missed.expect(identity, over=way)

    def _on_beat(self) -> None:
        now = self._loop.time()
        # A beat that comes late means that this loop stood still: what the workers said meanwhile
        # is still unread.
        stalled = now - self._beat.when() > HEARTBEAT_INTERVAL_S
        self._beat = self._loop.call_at(now + HEARTBEAT_INTERVAL_S, self._on_beat)
        beat = self._heartbeat()
        for worker in list(self._registry.workers.values()):
            try:
                self._beat_for(worker, beat, now, stalled=stalled)
            except Exception:
                # the others get theirs
                log.exception("defect in the heartbeat to worker %s", worker.worker_id)
        for missed in self._registry.missed:  # whoever is gone meanwhile is no hope any more
            self._wire.tell(missed.identity, HelloWanted(missed.session))
        if not stalled:
            self._kv_sources.drop_silent_relays(now)
            self._registry.missed.expire(now)
            self._dispatch.let_hopes_try()

    def _judged_at(self) -> float:
        """Returns up to when a silence counts: not beyond the next beat, for where that is overdue
        this loop stood still, and what was said meanwhile is still unread.
        """
        return min(self._loop.time(), self._beat.when())

    def _heartbeat(self) -> FrontendHeartbeat:
        return FrontendHeartbeat(int(1000 * self._unix_s()))

    def _beat_for(
        self, worker: Worker, beat: FrontendHeartbeat, now: float, *, stalled: bool
    ) -> None:
        self._wire.send_owed_aborts(worker)
        self._wire.send(worker, beat)
        if stalled:
            worker.heard_at = max(worker.heard_at, now - HEARTBEAT_INTERVAL_S)
        elif now - worker.heard_at > WORKER_SILENT_S_MAX:
            self._lose(worker, "silent", f"nothing heard from it for {WORKER_SILENT_S_MAX} s")
            return
        worker.on_time(now)

    def _lose(self, worker: Worker, cause: LossCause, reason: str) -> None:
        log.info("worker %s left: %s", worker.worker_id, reason)
        self._losses.workers.labels(cause).inc()
        self._joining.give_up(worker)
        self._queries.worker_left(worker)
        self._outputs.worker_left(worker)
        self._dispatch.fail_all(worker, cause)
        self._kv_sources.worker_left(worker)
        self._registry.leave(worker)
        self._registry.missed.note(worker, cause, self._loop.time())
        self._registry.departed.note(worker, cause, reason, self._loop.time())
