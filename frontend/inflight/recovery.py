"""Sends requests that lost their worker to another one."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Wakeup
from frontend.inflight.migration import Trail
from frontend.inflight.poison import PoisonList
from frontend.mesh.dispatch import Dispatch
from frontend.mesh.offer import Offer
from frontend.observe.loss_metrics import LossMetrics
from frontend.routing.route import RouteRequest
from protocol.errors import (
    EncoderLost,
    HandoverFailed,
    InvalidRequest,
    MeshError,
    NoWorker,
    Overloaded,
    PoisonRequest,
    WorkerLost,
)
from protocol.limits import HEARTBEAT_INTERVAL_S
from protocol.requests import Asked

log = logging.getLogger(__name__)

REFUSALS_MAX: Final = 3
"""Bounds the workers that may refuse a request one after the other; by then the fleet is full."""

REFUSED_PAUSE_S: Final = HEARTBEAT_INTERVAL_S
"""Is the pause, after every worker has said that it has no room for a request, until they are asked
again: as old as a report of their load may be.
"""


_NOT_HANDED_OVER: Final = (
    "The KV cache of the prompt did not come over from the worker that computed it to the one that "
    "was to generate. The two may not reach each other, and no further pair could be tried."
)


@dataclass(frozen=True, slots=True)
class Lost:
    """A Lost is a leg that ended before its request did.

    Attributes:
        request, route: as the client asked.
        leg: what it generated, packed u32.
    """

    request: Asked
    route: RouteRequest
    stream: RequestStream
    leg: bytes
    error: MeshError


class Recovery:
    """A Recovery decides whether a request that lost its worker goes on, and where; a frontend has
    one.

    Args:
        moves_max: times that one request is moved (--migration-limit).
        new_request_id: names legs; a worker that wakes up must not find its old requests under
        theirs.
        now: monotonic seconds.
    Attributes:
        poison: what workers died of.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        metrics: LossMetrics,
        *,
        moves_max: int,
        new_request_id: Callable[[], str],
        now: Callable[[], float],
    ) -> None:
        self._dispatch = dispatch
        self._metrics = metrics
        self._moves_max = moves_max
        self._new_request_id = new_request_id
        self._now = now
        self.poison = PoisonList()

    def check(self, request: Asked) -> None:
        """Refuses what workers just died of.

        Raises:
            PoisonRequest: a request like this one ended several.
        """
        try:
            self.poison.check(request, self._now())
        except PoisonRequest:
            self._metrics.twins.inc()
            raise

    async def move(
        self, entry: ModelEntry, lost: Lost, trail: Trail, wakeup: Wakeup
    ) -> RequestStream | None:
        """Lets a request go on elsewhere, and returns its new stream; None when there is nothing
        left to generate.

        Raises:
            PoisonRequest: the request is what workers die of.
            MeshError: what it failed with, if trying again is no use, or nobody is left to try nor
            likely to come.
        """
        cause = lost.error.cause if isinstance(lost.error, WorkerLost) else "refused"
        begun_s = perf_counter()
        try:
            stream = await self._try(entry, lost, trail, wakeup)
        except MeshError as error:
            if lost.error.retryable:
                self._metrics.migrations.labels(cause, error.code).inc()
            raise
        self._metrics.migrations.labels(
            cause, "moved" if stream is not None else "was_complete"
        ).inc()
        self._metrics.migration_seconds.observe(perf_counter() - begun_s)
        if stream is not None and cause != "refused":
            kind = "ongoing_request" if trail.output else "new_request"
            self._metrics.model_migrations.labels(lost.request.model, kind).inc()
            log.info(
                "request %s goes on as %s on worker %s",
                lost.request.request_id,
                stream.request_id,
                stream.worker_id,
            )
        return stream

    async def _try(
        self, entry: ModelEntry, lost: Lost, trail: Trail, wakeup: Wakeup
    ) -> RequestStream | None:
        error = lost.error
        if isinstance(error, EncoderLost):  # there may be no way between those two, for long
            trail.refused_by.add(lost.stream.lost_on)
        if isinstance(error, HandoverFailed):
            error = HandoverFailed(_NOT_HANDED_OVER)
            self._part(lost.stream, trail)
        if isinstance(error, WorkerLost):
            if error.doubt is not None:
                error.bystander = error.bystander or await error.doubt
            self._lose(lost, error, trail)
        elif (
            isinstance(error, Overloaded)
            and error.param is None
            and not lost.leg
            and not entry.queue.sheds
        ):
            await self._let_pass(entry, lost.stream.lost_on, trail)
        elif error.retryable and not lost.leg and len(trail.refused_by) < REFUSALS_MAX:
            trail.refused_by.add(lost.stream.lost_on)
        else:
            raise error
        request = trail.go_on(lost.request, self._new_request_id())
        if request is None:
            return None
        offer = Offer(
            request,
            trail.route(lost.route),
            avoid=frozenset(trail.refused_by),
            parted=frozenset(trail.parted),
            shuns=frozenset(trail.shuns),
            alone=trail.alone,
            admitted=True,
        )
        try:
            return await self._dispatch.place(entry, offer, wakeup)
        except (NoWorker, InvalidRequest):  # the latter: the only worker that would do is lost
            raise error from None

    async def _let_pass(self, entry: ModelEntry, worker_id: str, trail: Trail) -> None:
        """Notes that a worker was full: the others come first, and where there are none left it is
        asked again, until the request's deadline.
        """
        trail.refused_by.add(worker_id)
        if entry.refused(trail.refused_by):
            await asyncio.sleep(REFUSED_PAUSE_S)
            trail.refused_by.clear()

    def _part(self, stream: RequestStream, trail: Trail) -> None:
        """Notes that two workers did not hand a cache over, unless one of them is gone, which is
        reason enough.
        """
        registry, now = self._dispatch.registry, self._now()
        trail.shuns.update(stream.pair)
        if all(registry.serving(worker_id) for worker_id in stream.pair):
            registry.partings.note(stream.pair, now - stream.sent_at, now)
            if registry.partings.in_vain(stream.pair):
                trail.parted.add(stream.pair)

    def _lose(self, lost: Lost, error: WorkerLost, trail: Trail) -> None:
        try:
            trail.lose(
                error.cause,
                lost.leg,
                worker_id=lost.stream.lost_on,
                answers_again=self._takes_work,
                moves_max=self._moves_max,
                bystander=error.bystander,
            )
        except WorkerLost:
            if isinstance(error, HandoverFailed):
                raise error from None
            raise
        except PoisonRequest:
            log.error(
                "request %s is refused from here on: workers died of it", lost.request.request_id
            )
            self.poison.add(lost.request, self._now())
            self._metrics.poison.inc()
            raise

    def _takes_work(self, worker_id: str) -> bool:
        worker = self._dispatch.registry.serving(worker_id)
        return worker is not None and worker.takes_work
