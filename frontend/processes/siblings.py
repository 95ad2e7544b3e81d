"""A frontend process answers for all of its port, and asks its siblings what it cannot know."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from frontend.fleet.registry import Registry
from frontend.http.aborting import abort
from frontend.http.exchange import Exchange
from frontend.inflight.poison import PoisonList
from frontend.observe.families import Family
from frontend.processes.hub import METRICS
from frontend.processes.link import Link
from frontend.routing.sessions import RankKey, Sessions
from frontend.status.board import Board
from frontend.status.snapshot import RequestStatus, Snapshot
from protocol.membership import Loading

_encode = msgspec.msgpack.Encoder().encode
_families = msgspec.msgpack.Decoder(list[Family]).decode
_loading = msgspec.msgpack.Decoder(Loading).decode
_truth = msgspec.msgpack.Decoder(bool).decode
_snapshot = msgspec.msgpack.Decoder(Snapshot).decode
_found = msgspec.msgpack.Decoder(list[RequestStatus]).decode
_text = msgspec.msgpack.Decoder(str).decode
_session = msgspec.msgpack.Decoder(tuple[str, RankKey]).decode
_name = msgspec.msgpack.Decoder(str | None).decode
_count = msgspec.msgpack.Decoder(int).decode
_requests = msgspec.msgpack.Decoder(dict[str, list[int]]).decode


class Siblings:
    """Siblings asks and tells the other processes of a port, and answers what they ask.

    Args:
        families: gives this process's own metrics.
        exchanges: what is being answered here.
    """

    def __init__(
        self,
        link: Link,
        registry: Registry,
        *,
        families: Callable[[], list[Family]],
        exchanges: Callable[[], Iterable[Exchange]],
    ) -> None:
        self._link = link
        self._registry = registry
        self._now = asyncio.get_running_loop().time
        link.answer(METRICS, lambda _: _encode(families()))
        link.answer("requests", lambda _: _encode(requests_of(registry)))
        link.answer("abort", lambda body: _encode(abort(exchanges(), _name(body))))
        link.hear("loading", self._on_loading)

    def share_poison(self, poison: PoisonList) -> None:
        """Has all processes refuse what workers died of under one of them."""
        poison.on_proven = partial(self._link.tell, "poison")
        self._link.hear("poison", lambda body: poison.note(body, self._now()))

    def share_sessions(self, sessions: Sessions) -> None:
        """Has all processes know where a session's last request went."""

        def tell(session_id: str, rank: RankKey) -> None:
            self._link.tell("session", _encode((session_id, rank)))

        def heard(body: bytes) -> None:
            session_id, rank = _session(body)
            sessions.heard(session_id, rank, self._now())

        sessions.on_news = tell
        self._link.hear("session", heard)

    def share_status(self, board: Board) -> None:
        """Has the status of all processes told by each."""

        async def elsewhere(whole: bool) -> list[Snapshot]:
            return [_snapshot(each) for each in await self._link.ask("status", _encode(whole))]

        async def found(request_id: str) -> list[RequestStatus]:
            answers = await self._link.ask("request", _encode(request_id))
            return [request for answer in answers for request in _found(answer)]

        board.elsewhere = elsewhere
        board.found_elsewhere = found
        self._link.answer("request", lambda body: _encode(board.found(_text(body))))
        self._link.answer("status", lambda body: _encode(board.own(whole=_truth(body))))

    async def abort(self, name: str | None) -> int:
        """Aborts what goes by a name in the siblings, all of theirs without one; returns how many
        there were.
        """
        return sum(map(_count, await self._link.ask("abort", _encode(name))))

    async def metrics(self) -> list[Family] | None:
        """Returns the metrics of all processes as those of one; None where they cannot be had."""
        told = await self._link.scrape()
        return None if told is None else _families(told)

    async def requests(self) -> dict[str, list[int]]:
        """Returns the unfinished requests of the siblings by worker id, for each of its ranks."""
        total: dict[str, list[int]] = {}
        for answer in await self._link.ask("requests"):
            for worker_id, counts in _requests(answer).items():
                known = total.get(worker_id)
                total[worker_id] = (
                    counts
                    if known is None or len(known) != len(counts)
                    else [one + other for one, other in zip(known, counts, strict=True)]
                )
        return total

    def _on_loading(self, body: bytes) -> None:
        self._registry.loading.note(_loading(body), self._now())


def requests_of(registry: Registry) -> dict[str, list[int]]:
    """Returns the unfinished requests that this process sent to each rank, by worker id."""
    return {
        worker.worker_id: [rank.own_requests for rank in worker.ranks]
        for worker in registry.workers.values()
    }


def tell_loading(link: Link, loading: Loading) -> None:
    """Tells siblings what a worker says that loads: until it is up it knows the first of them
    alone.
    """
    link.tell("loading", _encode(loading))


def models_ready(registry: Registry) -> int:
    """Returns how many models this process can serve."""
    return sum(entry.ready for entry in registry.available())
