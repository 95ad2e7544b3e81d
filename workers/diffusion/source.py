"""What a worker made can be fetched, and its jobs can be asked for, by every frontend."""

from collections.abc import Callable

from protocol.diffusion import AskJobs, FetchOutput, JobsTold, OutputChunk
from workers.diffusion.jobs import Jobs
from workers.diffusion.outputs import Outputs


class Source:
    """A Source is the OutputSource of an engine that makes pictures or videos.

    Args:
        abort: stops a job, by its name.
        hand_back: has nothing wait any more.
    """

    def __init__(
        self,
        outputs: Outputs,
        jobs: Jobs,
        *,
        abort: Callable[[str], None],
        hand_back: Callable[[], None],
    ) -> None:
        self.hand_back = hand_back
        self._outputs = outputs
        self._jobs = jobs
        self._abort = abort

    @property
    def owed(self) -> int:
        """Returns what a worker that leaves waits for, as OutputSource says."""
        return self._jobs.unfinished + self._outputs.owed

    def open(self, tag: str, on_change: Callable[[], None]) -> None:
        """Begins to serve, as OutputSource says."""
        self._outputs.tag = tag
        self._outputs.on_fetched = self._jobs.on_end = on_change

    async def read(self, fetch: FetchOutput) -> OutputChunk:
        """Returns a piece of what was made, as OutputSource says."""
        return await self._outputs.read(fetch)

    def tell(self, ask: AskJobs) -> JobsTold:
        """Returns what was asked about jobs, as OutputSource says."""
        told = JobsTold(ask.query_id, self._jobs.tell(ask))
        if ask.job_id and ask.forget:
            self._jobs.forget(ask.job_id)
            self._abort(ask.job_id)
            for job in told.jobs:
                self._outputs.drop([each.output_id for each in job.outputs])
        return told
