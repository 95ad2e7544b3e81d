"""Sends one HTTP request's texts to workers, so many at once, moves them when those are lost, and
puts their vectors back in order.
"""

import asyncio
from collections.abc import Iterator, Sequence

from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Wakeup
from frontend.inflight.migration import Trail
from frontend.inflight.recovery import Lost, Recovery
from frontend.mesh.dispatch import Dispatch
from frontend.mesh.offer import Offer
from frontend.routing.route import RouteRequest
from protocol.embedding import Embed, Embedded
from protocol.errors import EngineFault, MeshError, RequestAborted
from protocol.generation import Finished

PER_RANK = 32
"""Counts the texts of one request that a rank is given at once: enough for full batches, and others
find room beside them.
"""

IN_FLIGHT_MAX = 256
"""Bounds the texts of one request under way at once, however many ranks there are; each is a task
and a request to a worker.
"""


class Embeddings:
    """Embeddings runs a batch of texts of one model.

    Attributes:
        stream: of the first text, on the worker that it was sent to first.
        prompt_tokens: those of all texts.
        moves: texts that were moved since their worker was lost, each as often as it was.
    """

    def __init__(self, dispatch: Dispatch, entry: ModelEntry, recovery: Recovery) -> None:
        self.stream: RequestStream | None = None
        self.prompt_tokens = 0
        self.moves = 0
        self._dispatch = dispatch
        self._entry = entry
        self._recovery = recovery
        self._loop = asyncio.get_running_loop()
        self._moving = 0
        """Counts the texts that lost their worker and have no vector yet."""
        self._settled = asyncio.Event()
        """Is set while no text moves.

        A worker may have died of one of them, so they go one by one (frontend.inflight.migration);
        each would wait for a whole batch of others if new ones were sent meanwhile.
        """
        self._settled.set()

    async def run(self, requests: Sequence[tuple[Embed, RouteRequest]]) -> list[Embedded]:
        """Returns the vector of each text, in the order of `requests`.

        Cancelled or failed, it aborts what still runs.

        Raises:
            PoisonRequest: workers died of one of them, or of its like.
            RequestAborted: an operator ended what ran on the worker of one.
            NoWorker, Overloaded: the first found no worker.
            MeshError: one failed, and with it all.
        """
        for request, _ in requests:
            self._recovery.check(request)
        vectors: list[Embedded | None] = [None] * len(requests)
        waiting = iter(enumerate(requests))
        lanes = min(len(requests), PER_RANK * max(1, len(self._entry.ranks)), IN_FLIGHT_MAX)
        failures: BaseExceptionGroup[Exception] | None = None
        index, first = next(waiting)
        # Once the first is admitted the batch is: the others wait for room, and are not refused for
        # want of it.
        stream, wakeup = await self._send(*first, admitted=False)
        self.stream = stream
        self.prompt_tokens = sum([route.prompt_tokens for _, route in requests])
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._lane((index, first, stream, wakeup), waiting, vectors))
                for _ in range(lanes - 1):
                    tasks.create_task(self._lane(None, waiting, vectors))
        except* Exception as group:  # noqa: BLE001 - told below
            failures = group
        finally:
            self._dispatch.abort(stream)
        if failures is not None:
            raise _first(failures)
        return [vector for vector in vectors if vector is not None]

    async def _lane(
        self,
        begun: tuple[int, tuple[Embed, RouteRequest], RequestStream, Wakeup] | None,
        waiting: Iterator[tuple[int, tuple[Embed, RouteRequest]]],
        vectors: list[Embedded | None],
    ) -> None:
        """Runs one text after the other, until none waits."""
        if begun is not None:
            index, text, stream, wakeup = begun
            vectors[index] = await self._vector(*text, stream, wakeup)
        for index, text in waiting:
            await self._settled.wait()
            stream, wakeup = await self._send(*text, admitted=True)
            vectors[index] = await self._vector(*text, stream, wakeup)

    async def _send(
        self, request: Embed, route: RouteRequest, *, admitted: bool
    ) -> tuple[RequestStream, Wakeup]:
        wakeup = Wakeup(self._loop)
        return await self._dispatch.place(
            self._entry, Offer(request, route, admitted=admitted), wakeup
        ), wakeup

    async def _vector(
        self, request: Embed, route: RouteRequest, stream: RequestStream, wakeup: Wakeup
    ) -> Embedded:
        trail, moving = Trail(), False
        try:
            while stream.embedded is None:
                if stream.error is not None:
                    if not moving:
                        moving = True
                        self._note_moving(1)
                    lost = Lost(request, route, stream, b"", stream.error)
                    moved = await self._recovery.move(self._entry, lost, trail, wakeup)
                    assert moved is not None, "a text is never done before its vector is there"
                    stream = moved
                    self.moves += 1
                elif stream.finished is not None:
                    raise _given_up(stream.finished)
                else:
                    await wakeup.wait()
            return stream.embedded
        finally:
            self._dispatch.abort(stream)
            if moving:
                self._note_moving(-1)

    @property
    def model(self) -> str:
        """Returns the model's name."""
        return self._entry.served.card.name

    def abort(self) -> bool:
        """Returns False, as an Abortable: nothing of it can be shown."""
        return False

    def _note_moving(self, change: int) -> None:
        self._moving += change
        if self._moving:
            self._settled.clear()
        else:
            self._settled.set()


def _given_up(end: Finished) -> MeshError:
    """Returns what a client is told of a text that ended without its vector: of it there is no part
    to give, as there is of an answer that ends as aborted.
    """
    if end.reason == "abort":
        return RequestAborted("The request was aborted by an operator of its worker.")
    return EngineFault("The engine gave up a text without saying why.")


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """Returns what a client is told of several failures: a defect, if one is among them."""
    defects = [error for error in group.exceptions if not isinstance(error, MeshError)]
    error = (defects or group.exceptions)[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
