"""A job as the frontend knows it that began it."""

import asyncio

from msgspec.structs import replace

from frontend.inflight.diffusion import Diffusion
from protocol.diffusion import Diffuse, Job, JobStatus, Progress
from protocol.errors import MeshError
from protocol.limits import MESSAGE_CHARS_MAX


class WatchedJob:
    """A WatchedJob is a job that this frontend began and that has not ended.

    Attributes:
        changed: is set whenever it got further, another worker has it, or it has ended.
        taken: a worker has it, and its client is told of it.
        over: there is nothing more to watch.
        error: why not, if it failed.
    """

    def __init__(self, diffusion: Diffusion, now: float) -> None:
        self.diffusion = diffusion
        self.begun_at = now
        self.status: JobStatus = "queued"
        self.percent = 0
        self.changed = asyncio.Event()
        self.taken = self.over = False
        self.error: MeshError | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def request(self) -> Diffuse:
        """Returns what was asked for."""
        return self.diffusion.request

    @property
    def reference_bytes(self) -> int:
        """Counts the bytes of the pictures that it brought along."""
        return sum(map(len, self.request.references)) + len(self.request.mask)

    def note(self, progress: Progress) -> None:
        """Takes note of how far it is."""
        self.status = "in_progress" if progress.step or progress.percent else "queued"
        self.percent = progress.percent
        self.changed.set()

    @property
    def job(self) -> Job:
        """Returns what can be said of it without its worker."""
        request, waits = self.request, self.diffusion.waits_anew
        return Job(
            request.job_id,
            request.model,
            "queued" if waits else self.status,
            request.job_begun_unix_s,
            percent=0 if waits else self.percent,
            prompt=request.prompt,
            seconds=request.seconds,
            width=request.width,
            height=request.height,
        )

    def completed(self) -> Job:
        """Returns what is to be said of it after it was made, but for what that is."""
        return replace(self.job, status="completed", percent=100)

    def failed(self, error: MeshError, unix_s: int) -> Job:
        """Returns what is to be said of it after it failed with this error."""
        return replace(
            self.job,
            status="failed",
            percent=0,
            completed_unix_s=unix_s,
            error_code=error.code,
            error=error.message[:MESSAGE_CHARS_MAX],
        )
