"""Has a request find its rank, run there and end there."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from time import perf_counter

from frontend.fleet.booking import Booking
from frontend.fleet.hopes import hopes
from frontend.fleet.model_entry import PREFILL, ModelEntry
from frontend.fleet.registry import Registry
from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Rounds, Wakeup
from frontend.fleet.worker import Worker
from frontend.mesh.bystanders import bystanders
from frontend.mesh.candidates import Candidates, candidates
from frontend.mesh.doubts import Doubts
from frontend.mesh.encoder_room import EncoderRoom
from frontend.mesh.offer import Offer, may_come
from frontend.mesh.sending import Sender
from frontend.mesh.wire import MeshWire
from frontend.observe.router_metrics import RouterMetrics
from frontend.routing.router import Router, unmet_pins
from frontend.routing.waiting_memory import waiting_bytes
from protocol.errors import (
    DeadlineExceeded,
    EncoderLost,
    InternalFault,
    MeshError,
    ModelNotFound,
    NoWorker,
    Overloaded,
    WorkerLost,
)
from protocol.losses import LossCause
from protocol.replies import Delta, StepBatch

log = logging.getLogger(__name__)


class Dispatch:
    """Dispatch owns every request of this frontend that is running on some worker.

    Everything here runs on the event loop and never waits on a socket.

    Args:
        unix_s: wall clock, against which deadlines are meant.
        chance: so many random bits.
        disagg_min_prompt: tokens of a prompt to be computed from which on it runs in two legs,
        where one worker could run it too.
    Attributes:
        rounds: deals with what arrived for handlers that need not be woken for it.
    """

    def __init__(
        self,
        registry: Registry,
        wire: MeshWire,
        router: Router,
        metrics: RouterMetrics,
        unix_s: Callable[[], float],
        *,
        chance: Callable[[int], int],
        disagg_min_prompt: int,
    ) -> None:
        self.registry = registry
        self.unix_s = unix_s
        self._wire = wire
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self.rounds = Rounds(self._loop)
        self._sender = Sender(
            wire,
            router,
            metrics,
            self._give_up,
            self._resume,
            encoders=registry.encoders,
            partings=registry.partings,
            chance=chance,
            disagg_min_prompt=disagg_min_prompt,
        )
        self._placed: dict[str, Worker] = {}
        """Request → the worker that generates its answer."""
        self._helping: dict[str, tuple[Worker, ...]] = {}
        """Of those with further legs: the workers that compute the prompt or encode its pictures,
        while they do.
        """
        self._doubts = Doubts()
        self._encoder_room = EncoderRoom(registry.encoders)
        self._apart = lambda: registry.partings.apart(self._loop.time())
        self._hoping: dict[ModelEntry, None] = {}
        """Holds the models of which somebody waits for a worker that may come, encode, or pair."""

    async def place(self, entry: ModelEntry, offer: Offer, wakeup: Wakeup) -> RequestStream:
        """Sends a request to the rank that the router chooses, waiting in the admission queue while
        none has room.

        Raises:
            NoWorker: nobody (else) serves the model now, nor will soon, as far as can be told.
            InvalidRequest: it asks for a worker that does not serve it.
            DeadlineExceeded: the time by which it had to begin has passed.
            Overloaded: the queue, or that of each worker, is full, or load is shed.
        """
        asked_at_s = perf_counter()  # the loop's own clock stands still within a turn
        stream = None
        if entry.queue.stands_open and not self.registry.encoders.workers:
            stream = self._try(entry, offer, wakeup)  # as nearly always
        if stream is None:
            stream = await self._wait(entry, offer, wakeup)
        stream.asked_at, stream.queue_s = asked_at_s, perf_counter() - asked_at_s
        self._metrics.queue_s.add(stream.queue_s)
        return stream

    def abort(self, stream: RequestStream, *, goes_on: bool = False) -> None:
        """Stops a request that nobody waits for any more, unless it `goes_on` without us; its
        credit returns at once, and late tokens are ignored.
        """
        worker = self._placed.get(stream.request_id)
        if worker is not None and not stream.ended:
            self._release(worker, stream.request_id)
            if not goes_on:
                self._wire.send_abort(worker, stream.request_id)

    def take_step(self, worker: Worker, step: StepBatch) -> None:
        """Hands each request what one step of a worker's engine gave it."""
        bookings, suspects, now = worker.bookings, worker.suspects, perf_counter()
        for delta in step.deltas:
            booking = bookings.get(delta.request_id)
            if booking is None:  # aborted by us a moment ago
                if self._doubts:
                    self._doubts.hear(worker, delta)
                continue
            try:
                if suspects or not booking.stream.extend(delta, now):
                    self._take(worker, booking, delta)
            except Exception:
                log.exception("request %s ends, since its output cannot be taken", delta.request_id)
                booking.stream.fail(InternalFault("The frontend failed on this request."))
                self._release(worker, delta.request_id)
                if delta.end is None:
                    self._wire.send_abort(worker, delta.request_id)

    def note_room(self, worker: Worker) -> None:
        """Lets the head of a model's queue try, since one of its workers may have room."""
        if (entry := self.registry.entry_of(worker)) is not None:
            entry.queue.room()

    def fail_all(self, worker: Worker, cause: LossCause) -> None:
        """Gives up all that runs on a worker; whoever waits for it moves it elsewhere."""
        self._encoder_room.forget(worker)
        innocent = bystanders(worker.bookings.values(), worker.heard_at)
        innocent |= self._sender.following.forget(worker)
        for request_id in list(worker.bookings):
            helpers = self._helping.get(request_id, ()) if worker.hello.fetches_encodings else ()
            encoder = self.registry.encoders.awaited(request_id, helpers)
            stream = self._release(worker, request_id)
            # One that was only slow finds these when it wakes, and stops what nobody waits for.
            self._wire.send_abort(worker, request_id)
            if stream is not None:
                lost = WorkerLost("The worker that ran this request was lost.", cause=cause)
                lost.bystander = request_id in innocent
                lost.doubt = self._doubts.ask(encoder, request_id) if encoder else None
                stream.fail(lost)

    def let_hopes_try(self) -> None:
        """Lets whoever waits for a worker that may come, or that encodes, look whether it has."""
        hoping, self._hoping = self._hoping, {}
        for entry in hoping:
            entry.queue.room()

    async def _wait(self, entry: ModelEntry, offer: Offer, wakeup: Wakeup) -> RequestStream:
        offer, encoded = self._encoder_room.enter(entry, offer)
        try:
            return await entry.queue.admit(
                partial(self._try, entry, offer, wakeup),
                undo=self.abort,
                priority=offer.request.priority,
                lane=("pictures", offer.lane) if encoded else offer.lane,
                admitted=offer.comes_first,
                size_bytes=waiting_bytes(offer.route.prompt_tokens),
            )
        finally:
            if encoded:
                self._encoder_room.leave(entry)

    def _try(self, entry: ModelEntry, offer: Offer, wakeup: Wakeup) -> RequestStream | None:
        """Sends a request now; returns None when no rank has room."""
        if not offer.admitted and offer.request.deadline_unix_ms < self.unix_s() * 1000:
            raise DeadlineExceeded(
                "The request waited so long for a worker that its answer could not be "
                "finished in time."
            )
        found = candidates(entry, offer, self._apart)
        if not (found.whole or found.in_two_legs):
            self._hope(entry, found, offer)
            return None
        if self.registry.encoders.workers and self._encoder_room.is_full(entry, offer):
            self._hoping[entry] = None
            return None
        sent = self._sender.send(entry, found, offer, wakeup)
        if sent is None:
            if found.apart:  # who are a pair again before others have room
                self._hoping[entry] = None
            return None
        stream = sent.stream
        entry.queue.note_sent()
        self._placed[stream.request_id] = sent.worker
        if sent.helpers:
            self._helping[stream.request_id] = sent.helpers
            if sent.unreached:  # as above; this id is used, so it goes on under another one
                full = Overloaded("A worker's connection is full or gone.")
                self._give_up(stream, full, sent.unreached.worker_id)
        return stream

    def _hope(self, entry: ModelEntry, found: Candidates, offer: Offer) -> None:
        """Returns if, though nobody may run a request now, it is worth waiting for one who may.

        Raises:
            ModelNotFound, InvalidRequest, NoWorker: it is not.
        """
        adapter = None if offer.admitted else offer.request.lora_name
        if adapter is not None and adapter not in entry.adapters:
            raise ModelNotFound(f"The LoRA adapter {adapter!r} is not loaded here.", param="model")
        if found.unmet:
            raise unmet_pins(offer.route)
        if not may_come(
            offer, hopes(self.registry, entry, self._loop.time(), patient=offer.admitted)
        ):
            raise NoWorker(
                f"No {entry.missing} serves the model {entry.served.card.name!r} at the moment."
            )
        self._hoping[entry] = None

    def _give_up(self, stream: RequestStream, error: MeshError, worker_id: str) -> None:
        """Ends a request on account of a worker that runs one of its legs."""
        self.abort(stream)
        stream.fail(error, on=worker_id)

    def _resume(self, stream: RequestStream) -> None:
        """Takes the answer that waited for the scores of a prompt, which have come."""
        held, stream.held = stream.held, None
        if held and (worker := self._placed.get(stream.request_id)) is not None:
            self.take_step(worker, StepBatch(held))

    def _release(self, worker: Worker, request_id: str) -> RequestStream | None:
        ends = False  # a leg that only helps is no request that ends
        if self._placed.get(request_id) is worker:
            del self._placed[request_id]
            for helper in self._helping.pop(request_id, ()) if self._helping else ():
                if self._release(helper, request_id) is not None:
                    self._wire.send_abort(helper, request_id)
            ends = True
        elif helpers := [each for each in self._helping.get(request_id, ()) if each is not worker]:
            self._helping[request_id] = (*helpers,)
        else:
            self._helping.pop(request_id, None)
        stream = worker.release(request_id)
        if ends:
            self._sender.following.note_end(request_id)
        entry = self.registry.entry_of(worker)
        if entry is not None:
            if stream is not None and ends:
                entry.note_end(stream, self._loop.time())
            entry.queue.room()
        elif self._hoping:
            self.let_hopes_try()
        return stream

    def _take(self, worker: Worker, booking: Booking, delta: Delta) -> None:
        stream = booking.stream
        if stream.held is not None and stream.hold(delta):
            return
        if not stream.tokens_received and delta.token_ids:
            booking.note_token()
            stream.begun_at = self._loop.time()
            self._sender.following.let_go(delta.request_id)
            self.note_room(worker)  # its prompt is computed
        stream.push(delta)
        if stream.ended:
            self._end(worker, stream, delta)
        elif worker.suspects and worker.clear_suspect(stream):
            self.note_room(worker)
        if delta.extras is not None and booking.leaves_room(delta.extras):
            self.note_room(worker)

    def _end(self, worker: Worker, stream: RequestStream, delta: Delta) -> None:
        """Ends what a delta was the last of, or what cannot go on behind it."""
        now = self._loop.time()
        if isinstance(stream.error, EncoderLost):
            self.registry.encoders.note_unreached(stream.fetches_from, worker.worker_id, now)
        if stream.encoded is not None:
            self._encoder_room.note_encoded(worker, stream.sent_at, now)
        self._release(worker, delta.request_id)
        if stream.finished is not None:
            if worker.hello.stage != PREFILL:  # the other leg tells the same
                self._metrics.count_finished(stream, worker.tally)
        elif delta.end is None:  # we gave it up, the engine does not know
            self._wire.send_abort(worker, delta.request_id)
