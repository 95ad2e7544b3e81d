"""Keeps the status of a frontend, and tells those who watch it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from frontend.fleet.registry import Registry
from frontend.observe.recent_requests import RecentRequests
from frontend.status.feed import Feed
from frontend.status.fleet_view import departed_shown, models_shown, workers_shown
from frontend.status.merging import merged
from frontend.status.recent import Recent
from frontend.status.sampler import STEP_S, Sampler
from frontend.status.slowest import Slowest, request_shown
from frontend.status.snapshot import Point, RequestStatus, Snapshot
from frontend.status.verdict import verdict_on
from protocol.process.packaging import VERSION

log = logging.getLogger(__name__)

_encode: Final = msgspec.json.Encoder().encode


class Board:
    """A Board samples once a second, and makes a Snapshot for whoever asks; without watchers the
    sampling is all that it does.

    Args:
        requests: tells of each that has ended.
    Attributes:
        feed: of those who watch.
        elsewhere: gives the snapshots of sibling processes, with the whole history or the newest
        point of it; None where there are none.
        found_elsewhere: gives the requests of a name that ended in these; None likewise.
    """

    def __init__(
        self,
        registry: Registry,
        requests: RecentRequests,
        frontend_id: str,
        is_draining: Callable[[], bool],
    ) -> None:
        self._now = asyncio.get_running_loop().time
        self._registry = registry
        self._frontend_id = frontend_id
        self._is_draining = is_draining
        self._begun_at = self._now()
        self._requests = requests
        self._recent = Recent()
        self._slowest = Slowest()
        requests.listeners += [self._recent.note, self._slowest.note]
        self.feed = Feed()
        self.elsewhere: Callable[[bool], Awaitable[list[Snapshot]]] | None = None
        self.found_elsewhere: Callable[[str], Awaitable[list[RequestStatus]]] | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._sampler = Sampler(registry, self._recent, self._begun_at)

    async def keep(self) -> None:
        """Samples for ever."""
        while True:
            await asyncio.sleep(STEP_S)
            try:
                self._sampler.sample(self._now(), time.time())
                # the next second does not wait for siblings that are slow to answer
                if self.feed.watchers and (self._publishing is None or self._publishing.done()):
                    self._publishing = asyncio.create_task(self._publish())
            except Exception:
                log.exception("defect in the status of this frontend")

    async def page(self) -> bytes:
        """Returns a Snapshot with the whole history, as JSON."""
        return _encode(await self._merged(whole=True))

    async def request(self, request_id: str) -> bytes | None:
        """Returns a RequestStatus of a request that ended of late, as JSON, by any of its names;
        None where it is not known.
        """
        found = self.found(request_id)
        if not found and self.found_elsewhere is not None:
            found = await self.found_elsewhere(request_id)
        return _encode(found[0]) if found else None

    def found(self, request_id: str) -> list[RequestStatus]:
        """Returns the request of that name that ended in this process, if there is one."""
        record = self._requests.find(request_id)
        return [] if record is None else [request_shown(record)]

    async def first_event(self) -> bytes:
        """Returns the event with the whole history that a watcher begins with; the feed has the
        others.
        """
        return _event(await self._merged(whole=True))

    def own(self, *, whole: bool) -> Snapshot:
        """Returns the Snapshot of this process alone, with the whole history or its newest
        point.
        """
        points = [*self._sampler.points]
        return self._snapshot(points if whole else points[-1:])

    async def _publish(self) -> None:
        self.feed.publish(_event(await self._merged(whole=False)))

    async def _merged(self, *, whole: bool) -> Snapshot:
        own = self.own(whole=whole)
        return own if self.elsewhere is None else merged(own, await self.elsewhere(whole))

    def _snapshot(self, history: list[Point]) -> Snapshot:
        now, unix_s = self._now(), time.time()
        draining = self._is_draining()
        verdict = verdict_on(self._registry, draining=draining, now=now)
        workers, left_out = workers_shown(self._registry, now)
        return Snapshot(
            version=VERSION,
            frontend_id=self._frontend_id,
            at_unix_s=round(unix_s, 2),
            up_s=round(now - self._begun_at, 1),
            draining=draining,
            verdict=verdict.status,
            reasons=verdict.reasons,
            models=models_shown(self._registry, self._sampler.tokens_per_s),
            workers=workers,
            workers_left_out=left_out,
            departed=departed_shown(self._registry, now, unix_s),
            errors=self._recent.errors(unix_s),
            slowest=self._slowest.shown(unix_s),
            step_s=STEP_S,
            history=history,
        )


def _event(snapshot: Snapshot) -> bytes:
    return b"data: %b\n\n" % _encode(snapshot)
