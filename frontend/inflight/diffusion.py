"""Has one request's pictures or video made by a worker, and moves it when that is lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Wakeup
from frontend.inflight.migration import Trail
from frontend.inflight.recovery import Lost, Recovery
from frontend.mesh.dispatch import Dispatch
from frontend.mesh.offer import Offer
from frontend.mesh.outputs import Outputs
from frontend.routing.route import RouteRequest
from protocol.diffusion import Diffuse, Diffused, Progress
from protocol.errors import EngineFault, MeshError, RequestAborted, WorkerLost


class Diffusion:
    """A Diffusion runs one Diffuse, from its place in the queue to its end.

    Args:
        outputs: asked whether what was made can be fetched: of a request that is no job, it is made
        again if its worker was lost just then.
    Attributes:
        made: what came of it; None until it has ended.
        request: as it was asked for.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        entry: ModelEntry,
        recovery: Recovery,
        request: Diffuse,
        route: RouteRequest,
        *,
        outputs: Outputs,
    ) -> None:
        self.made: Diffused | None = None
        self.request = request
        self._dispatch = dispatch
        self._entry = entry
        self._recovery = recovery
        self._route = route
        self._outputs = outputs
        self._trail = Trail()
        self._wakeup = Wakeup(asyncio.get_running_loop())
        self._stream: RequestStream | None = None

    @property
    def stream(self) -> RequestStream | None:
        """Returns its present leg; None before a worker had it."""
        return self._stream

    @property
    def worker_id(self) -> str:
        """Returns the id of the worker that has it, or had it last; empty before it had one."""
        return "" if self._stream is None else self._stream.worker_id

    @property
    def moves(self) -> int:
        """Returns how many workers were lost that had it."""
        return self._trail.moves

    @property
    def waits_anew(self) -> bool:
        """Tells whether its worker was lost, and no other one has it yet."""
        error = None if self._stream is None else self._stream.error
        return error is not None and error.retryable

    async def start(self) -> None:
        """Returns when a worker has it: jobs and videos wait there, all else in the frontend.

        Raises:
            PoisonRequest: workers died of its like.
            NoWorker, Overloaded, DeadlineExceeded, InvalidRequest: as Dispatch.place.
        """
        self._recovery.check(self.request)
        self._stream = await self._dispatch.place(
            self._entry, Offer(self.request, self._route), self._wakeup
        )

    async def progress(self) -> AsyncIterator[Progress]:
        """Yields how far it is, whenever that is told, until `made` is there.

        One that has to begin anew elsewhere is told as that far: nothing.

        Raises:
            RequestAborted: it was a job, and was thrown away.
            MeshError: it failed, and nobody is left to try.
        """
        while self.made is None:
            stream = self._stream
            assert stream is not None, "it was started"
            for progress in _told(stream):
                yield progress
            error = stream.error
            if stream.diffused is not None:
                error = await self._missing(stream.diffused)
                self.made = stream.diffused if error is None else None
            if error is not None:
                lost = Lost(self.request, self._route, stream, b"", error)
                self._stream = await self._recovery.move(
                    self._entry, lost, self._trail, self._wakeup
                )
                yield Progress(0)
            elif stream.finished is not None:
                if self.request.job_id:
                    raise RequestAborted("The job was deleted.")
                raise EngineFault("The worker gave up without saying why.")
            elif self.made is None:
                await self._wakeup.wait()

    async def finish(self) -> Diffused:
        """Returns what was made; raises as `progress`."""
        async for _ in self.progress():
            pass
        assert self.made is not None, "it has ended"
        return self.made

    async def _missing(self, made: Diffused) -> MeshError | None:
        """Returns why what was made cannot be fetched; None if it can, or need not be from here."""
        fetched = [] if self.request.job_id else [each for each in made.outputs if not each.url]
        try:
            found = await asyncio.gather(*(self._outputs.find(each.output_id) for each in fetched))
        except WorkerLost as error:
            return error
        return WorkerLost("What was made was thrown away.") if None in found else None

    @property
    def model(self) -> str:
        """Returns the model's name."""
        return self._entry.served.card.name

    def abort(self) -> bool:
        """Returns False, as an Abortable: nothing of it can be shown."""
        return False

    def let_go(self) -> None:
        """Has it go on without us, if it has not ended."""
        if self._stream is not None:
            self._dispatch.abort(self._stream, goes_on=True)

    def close(self) -> None:
        """Ends it, if it has not ended."""
        if self._stream is not None:
            self._dispatch.abort(self._stream)


def _told(stream: RequestStream) -> Iterator[Progress]:
    """Yields what has come, and what comes while somebody uses that."""
    while told := stream.take_extras():
        for extras in told:
            if extras.progress is not None:
                yield extras.progress
