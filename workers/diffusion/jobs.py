"""Orders that go on without whoever asked for them are remembered until they are forgotten, or for
as long as what was made is kept.
"""

from collections.abc import Callable, Container
from typing import Final

from msgspec.structs import replace

from protocol.diffusion import JOBS_LISTED_MAX, AskJobs, Diffuse, Diffused, Job
from protocol.errors import Overloaded, RequestAborted, error_from_code
from protocol.replies import Failed

PROMPT_CHARS_LISTED: Final = 1_000
"""Is how much of a prompt is told where many jobs are: all of them are one message."""


class Jobs:
    """Jobs remembers orders by the names of the jobs that they are.

    Args:
        lifetime_s: of those that have ended.
        unix_ms: wall clock.
        kept: the ids of outputs that can be fetched.
    Attributes:
        on_end: called whenever `unfinished` is less.
    """

    def __init__(
        self, *, lifetime_s: float, unix_ms: Callable[[], float], kept: Container[str]
    ) -> None:
        self.on_end: Callable[[], None] = lambda: None
        self._lifetime_s = lifetime_s
        self._unix_ms = unix_ms
        self._kept = kept
        self._jobs: dict[str, Job] = {}
        """Bounded by JOBS_LISTED_MAX; in the order of their beginnings."""
        self._ended_unix_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def unfinished(self) -> int:
        """Returns how many of them wait or run."""
        return len(self._jobs) - len(self._ended_unix_s)

    def find(self, job_id: str) -> Job | None:
        """Returns what is known of a job; None if it is not, or not any more."""
        self._forget_old()
        return self._jobs.get(job_id)

    def add(self, order: Diffuse) -> Failed | None:
        """Remembers an order, in the place of the oldest that has ended; returns why it cannot."""
        self._forget_old()
        if len(self._jobs) >= JOBS_LISTED_MAX:
            if not self._ended_unix_s:
                return Failed(Overloaded.code, "The worker has as many jobs as it remembers.")
            self.forget(next(iter(self._ended_unix_s)))
        self.forget(order.job_id)
        self._jobs[order.job_id] = Job(
            order.job_id,
            order.model,
            "queued",
            order.job_begun_unix_s or self._now_s(),
            prompt=order.prompt,
            seconds=order.seconds,
            width=order.width,
            height=order.height,
        )
        return None

    def progress(self, job_id: str, percent: int) -> None:
        """Notes how far a job is, if it is one."""
        self._change(job_id, status="in_progress", percent=percent)

    def complete(self, job_id: str, end: Diffused) -> None:
        """Notes what was made, if it was a job."""
        first = end.outputs[0]
        self._change(
            job_id,
            status="completed",
            percent=100,
            outputs=end.outputs,
            width=first.width,
            height=first.height,
            completed_unix_s=self._now_s(),
            expires_unix_s=end.expires_unix_s,
        )
        self._end(job_id)

    def fail(self, job_id: str, failed: Failed) -> None:
        """Notes why nothing was made, if it was a job."""
        self._change(
            job_id,
            status="failed",
            error_code=failed.code,
            error=failed.message,
            completed_unix_s=self._now_s(),
        )
        self._end(job_id)

    def forget(self, job_id: str) -> Job | None:
        """Returns a job that is not remembered any more; None if it was not."""
        self._ended_unix_s.pop(job_id, None)
        job = self._jobs.pop(job_id, None)
        self.on_end()
        return job

    def tell(self, ask: AskJobs) -> list[Job]:
        """Returns what was asked about, without outputs that are not kept any more."""
        self._forget_old()
        if ask.job_id:
            job = self._jobs.get(ask.job_id)
            return [] if job is None else [self._told(job)]
        return [
            replace(self._told(job), prompt=job.prompt[:PROMPT_CHARS_LISTED])
            for job in self._jobs.values()
        ]

    def _told(self, job: Job) -> Job:
        ended_unix_s = self._ended_unix_s.get(job.job_id)
        return replace(
            job,
            outputs=[each for each in job.outputs if each.output_id in self._kept],
            ended_s_ago=(
                None if ended_unix_s is None else max(0, int(self._unix_ms() / 1000 - ended_unix_s))
            ),
        )

    def _change(self, job_id: str, **changes: object) -> None:
        job = self._jobs.get(job_id)
        if job is not None:
            self._jobs[job_id] = replace(job, **changes)

    def _end(self, job_id: str) -> None:
        if job_id in self._jobs:
            self._ended_unix_s[job_id] = self._unix_ms() / 1000
            self.on_end()

    def _forget_old(self) -> None:
        """Forgets those that ended too long ago, which are the first ones."""
        until = self._unix_ms() / 1000 - self._lifetime_s
        while self._ended_unix_s:
            job_id, ended_unix_s = next(iter(self._ended_unix_s.items()))
            if ended_unix_s >= until:
                return
            self.forget(job_id)

    def _now_s(self) -> int:
        return int(self._unix_ms() / 1000)


def runs_again(job: Job) -> bool:
    """Tells whether a job that is submitted again is to be made: it failed, but not of itself, or
    was stopped by a frontend that thought this worker lost.
    """
    return job.status == "failed" and (
        job.error_code == RequestAborted.code or error_from_code(job.error_code, "").retryable
    )
