"""Has one request's pictures or video made by a worker, and moves it when that is lost."""

import asyncio
from collections.abc import AsyncIterator

from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.stream import RequestStream, Wakeup
from frontend.inflight.migration import Trail
from frontend.inflight.recovery import Lost, Recovery
from frontend.mesh.dispatch import Dispatch
from frontend.mesh.offer import Offer
from frontend.routing.route import RouteRequest
from protocol.diffusion import Diffuse, Diffused, Progress
from protocol.errors import EngineFault


class Diffusion:
    """A Diffusion runs one Diffuse, from its place in the queue to its end.

    Attributes:
        made: what came of it; None until it has ended.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        entry: ModelEntry,
        recovery: Recovery,
        request: Diffuse,
        route: RouteRequest,
    ) -> None:
        self.made: Diffused | None = None
        self._dispatch = dispatch
        self._entry = entry
        self._recovery = recovery
        self._request = request
        self._route = route
        self._trail = Trail()
        self._wakeup = Wakeup(asyncio.get_running_loop())
        self._stream: RequestStream | None = None

    async def start(self) -> None:
        """Returns when a worker has it: a job waits there for its turn, all else in the frontend.

        Raises:
            PoisonRequest: workers died of its like.
            NoWorker, Overloaded, DeadlineExceeded, InvalidRequest: as Dispatch.place.
        """
        self._recovery.check(self._request)
        self._stream = await self._dispatch.place(
            self._entry, Offer(self._request, self._route), self._wakeup
        )

    async def progress(self) -> AsyncIterator[Progress]:
        """Yields how far it is, whenever that is told, until `made` is there.

        What is told of one that had to begin anew elsewhere may be less than before.

        Raises:
            MeshError: it failed, and nobody is left to try.
        """
        while self.made is None:
            stream = self._stream
            assert stream is not None, "it was started"
            for extras in stream.take_extras():
                if extras.progress is not None:
                    yield extras.progress
            self.made = stream.diffused
            if stream.error is not None:
                lost = Lost(self._request, self._route, stream, b"", stream.error)
                self._stream = await self._recovery.move(
                    self._entry, lost, self._trail, self._wakeup
                )
            elif stream.finished is not None:
                raise EngineFault("The worker gave up without saying why.")
            elif self.made is None:
                await self._wakeup.wait()

    async def finish(self) -> Diffused:
        """Returns what was made; raises as `progress`."""
        async for _ in self.progress():
            pass
        assert self.made is not None, "it has ended"
        return self.made

    def close(self) -> None:
        """Ends it, if it has not ended."""
        if self._stream is not None:
            self._dispatch.abort(self._stream)
