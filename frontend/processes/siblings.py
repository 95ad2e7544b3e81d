"""A frontend process answers for all of its port, and asks its siblings what it cannot know."""

import asyncio
from collections.abc import Callable

import msgspec

from frontend.fleet.registry import Registry
from frontend.observe.families import Family
from frontend.processes.hub import METRICS
from frontend.processes.link import Link
from protocol.membership import Loading

_encode = msgspec.msgpack.Encoder().encode
_families = msgspec.msgpack.Decoder(list[Family]).decode
_loading = msgspec.msgpack.Decoder(Loading).decode
_requests = msgspec.msgpack.Decoder(dict[str, list[int]]).decode


class Siblings:
    """Siblings asks and tells the other processes of a port, and answers what they ask.

    Args:
        families: gives this process's own metrics.
    """

    def __init__(
        self, link: Link, registry: Registry, families: Callable[[], list[Family]]
    ) -> None:
        self._link = link
        self._registry = registry
        link.answer(METRICS, lambda _: _encode(families()))
        link.answer("requests", lambda _: _encode(requests_of(registry)))
        link.hear("loading", self._on_loading)

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
        self._registry.loading.note(_loading(body), asyncio.get_running_loop().time())


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
