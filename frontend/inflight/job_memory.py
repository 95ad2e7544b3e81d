"""Remembers where jobs are, and what no worker can say of them: which failed for want of a worker,
or were on one that is lost. Bounded; pure.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from protocol.diffusion import Job, JobStatus
from protocol.errors import RequestAborted, WorkerLost, error_from_code

KNOWN_MAX: Final = 1_024
"""Bounds the jobs that are remembered, those longest ago asked about forgotten first: their prompts
have up to 32,000 characters.
"""

FAILED_S_MAX: Final = 3_600.0
"""Is how long it is told that a job failed: whoever waits for one asks every few seconds."""

MOVE_S_MAX: Final = 30.0
"""Is the time in which the frontend that watches a job has it run elsewhere when its worker is
lost: it waits for one that may be back before it gives up.
"""

_LOST_WITH_WORKER: Final = "The worker that kept it was lost, and what was made with it."

_FURTHEST: Final[tuple[JobStatus, ...]] = ("completed", "in_progress", "queued", "failed")


@dataclass(slots=True)
class _Known:
    """A _Known is a job as it was told last.

    `worker_id` is empty where it is this frontend that says so; `missed_at` says since when its
    worker is not there, None while it is.
    """

    job: Job
    worker_id: str
    at: float
    missed_at: float | None = None


class JobMemory:
    """A JobMemory keeps what was last told of jobs."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def worker_of(self, job_id: str) -> str:
        """Returns the id of the worker that a job was on when it was told of last; empty if nobody
        knows.
        """
        known = self._known.get(job_id)
        return known.worker_id if known else ""

    def note(self, job: Job, worker_id: str, now: float) -> None:
        """Remembers what a worker told; what failed here did so for good."""
        if job.status != "failed" or self.failure(job.job_id, now) is None:
            self._put(job, worker_id, now)

    def note_failed(self, job: Job, now: float) -> None:
        """Remembers a job that failed here."""
        self._put(job, "", now)

    def forget(self, job_id: str) -> None:
        """Forgets a job, which was thrown away or which its worker does not know any more."""
        self._known.pop(job_id, None)

    def failure(self, job_id: str, now: float) -> Job | None:
        """Returns the job if it failed here."""
        known = self._known.get(job_id)
        if known is None or known.worker_id or now - known.at > FAILED_S_MAX:
            return None
        return known.job

    def failures(self, now: float) -> list[Job]:
        """Returns the jobs that failed here."""
        found = (self.failure(job_id, now) for job_id in self._known)
        return [job for job in found if job is not None]

    def untold(self, job_id: str, now: float, *, worker_gone: bool) -> Job | None:
        """Returns what is to be said of a job that no worker tells of; None if there is none.

        Who watches it may be about to have it run elsewhere, so it waits for a while.

        Args:
            worker_gone: the worker that it was on is not connected.
        """
        known = self._known.get(job_id)
        if known is None:
            return None
        if not worker_gone:
            self.forget(job_id)
            return None
        if known.missed_at is None:
            known.missed_at = now
        made = known.job.status == "completed"
        if now - known.missed_at <= MOVE_S_MAX:  # what was made is there again if its worker is
            return known.job if made else _waiting(known.job)
        lost = replace(
            known.job,
            status="failed",
            percent=0,
            error_code=known.job.error_code or WorkerLost.code,
            error=known.job.error or (_LOST_WITH_WORKER if made else "Its worker was lost."),
        )
        self.note_failed(lost, now)
        return lost

    def _put(self, job: Job, worker_id: str, now: float) -> None:
        self._known.pop(job.job_id, None)
        self._known[job.job_id] = _Known(replace(job, outputs=[]), worker_id, now)
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)


def furthest(jobs: Iterable[Job]) -> Job | None:
    """Returns the one of a job's tellings that is the furthest; None of none.

    It may be on two workers, if one was thought to be lost; a failure counts least, since it may
    go on elsewhere.
    """
    return min(
        jobs,
        key=lambda job: (_FURTHEST.index(job.status), -job.percent, -len(job.outputs)),
        default=None,
    )


def as_watched_elsewhere(job: Job) -> Job:
    """Returns a job as its client is to be told of it: one that failed just now for its worker's
    sake, or was stopped there, waits, since the frontend that watches it has it run elsewhere.
    """
    moves = job.error_code == RequestAborted.code or error_from_code(job.error_code, "").retryable
    just_now = job.ended_s_ago is not None and job.ended_s_ago <= MOVE_S_MAX
    if job.status == "failed" and moves and just_now:
        return _waiting(job)
    return job


def _waiting(job: Job) -> Job:
    """Returns a job as one that is to run elsewhere."""
    return replace(job, status="queued", percent=0, completed_unix_s=0, error_code="", error="")
