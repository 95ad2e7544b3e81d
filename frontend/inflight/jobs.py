"""Jobs are made while nobody waits for them: they live at their workers, any frontend answers about
them, and the one that began a job has it run elsewhere when its worker is lost.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from frontend.inflight.diffusion import Diffusion
from frontend.inflight.job_memory import JobMemory, as_watched_elsewhere, furthest
from frontend.inflight.request_log import log_job
from frontend.inflight.watched_job import WatchedJob
from frontend.mesh.outputs import Outputs
from frontend.observe.job_metrics import JobMetrics
from protocol.diffusion import Diffused, Job
from protocol.errors import InternalFault, MeshError, Overloaded, RequestAborted

log = logging.getLogger(__name__)

WATCHED_MAX: Final = 4_096
"""Bounds the jobs that a frontend watches, each a task: 64 workers whose queues are full."""

REFERENCE_BYTES_MAX: Final = 512 * 1024 * 1024
"""Bounds the pictures that watched jobs brought along, which are kept to be sent once more."""

TAKEN_S_MAX: Final = 5.0
"""Bounds the wait until a worker has taken a job into its queue: it answers at once, and where all
refuse, this many seconds of asking one after the other are enough.
"""


class Jobs:
    """Jobs begins jobs, finds them and throws them away.

    Args:
        is_connected: whether there is a worker of that id.
        note_made: told of what came of them, with their model.
        unix_s: wall clock.
    """

    def __init__(
        self,
        outputs: Outputs,
        metrics: JobMetrics,
        *,
        is_connected: Callable[[str], bool],
        note_made: Callable[[str, Diffused], None],
        unix_s: Callable[[], float],
    ) -> None:
        self._outputs = outputs
        self._metrics = metrics
        self._is_connected = is_connected
        self._note_made = note_made
        self._unix_s = unix_s
        self._loop = asyncio.get_running_loop()
        self._watched: dict[str, WatchedJob] = {}
        """Maps the ids of the jobs that this frontend began to what it knows; bounded by
        WATCHED_MAX.
        """
        self._reference_bytes = 0
        self._memory = JobMemory()

    def __len__(self) -> int:
        return len(self._watched)

    async def begin(self, diffusion: Diffusion) -> Job:
        """Returns a job as soon as a worker has it in its queue; cancelled or failed before, there
        is none.

        Raises:
            Overloaded: too many are watched here, or no worker took it.
            MeshError: as Diffusion.start and Diffusion.progress.
        """
        watched = WatchedJob(diffusion, self._loop.time())
        full = self._reference_bytes + watched.reference_bytes > REFERENCE_BYTES_MAX
        if len(self._watched) >= WATCHED_MAX or (self._watched and full):
            raise Overloaded("Too many jobs wait to be made. Please retry later.")
        self._add(watched)
        try:
            await diffusion.start()
            watched.task = self._loop.create_task(self._watch(watched))
            job = await self._taken(watched)
        except BaseException:
            await self._stop(watched)
            diffusion.close()
            raise
        self._memory.note(job, diffusion.worker_id, self._loop.time())
        watched.taken = True
        if watched.over:
            self._note_end(watched)
        return job

    async def find(self, job_id: str) -> Job | None:
        """Returns a job; None if nobody knows it.

        The worker that was known to have it is asked first, then all.
        """
        watched = self._watched.get(job_id)
        worker_id = watched.diffusion.worker_id if watched else self._memory.worker_of(job_id)
        told = await self._told_by(worker_id, job_id)
        if told is None or told.status == "failed":
            told = await self._told_by_all(job_id)
        watched = self._watched.get(job_id)  # it may have ended meanwhile
        if watched is not None:
            return furthest([watched.job] if told is None else [told, watched.job])
        if told is not None:
            return self._judged(told)
        if failure := self._memory.failure(job_id, self._loop.time()):
            return failure
        gone = not self._is_connected(self._memory.worker_of(job_id))
        return self._memory.untold(job_id, self._loop.time(), worker_gone=gone)

    async def all(self) -> list[Job]:
        """Returns all jobs: those that workers tell of, and those that only this frontend knows."""
        tellings: defaultdict[str, list[Job]] = defaultdict(list)
        for job in await self._outputs.all_jobs():
            tellings[job.job_id].append(job)
        for job in self._memory.failures(self._loop.time()):
            tellings[job.job_id].append(job)
        for job_id, watched in self._watched.items():
            tellings[job_id].append(watched.job)
        found = (furthest(jobs) for jobs in tellings.values())
        return [self._judged(job) for job in found if job is not None]

    async def forget(self, job_id: str) -> Job | None:
        """Returns a job as it was, which is stopped and thrown away with all that was made; None if
        nobody knows it.
        """
        watched = self._watched.get(job_id)
        own = self._memory.failure(job_id, self._loop.time())
        if watched is not None:
            own = watched.job
            await self._stop(watched)
            watched.diffusion.let_go()
            watched.error = RequestAborted("The job was deleted.")
            self._note_end(watched)
        self._memory.forget(job_id)
        told = await self._outputs.all_jobs(job_id, forget=True)
        return furthest(told if own is None else [*told, own])

    async def close(self) -> None:
        """Leaves the jobs to their workers, where they go on."""
        for watched in list(self._watched.values()):
            await self._stop(watched)
            watched.diffusion.let_go()

    async def _taken(self, watched: WatchedJob) -> Job:
        """Returns a job as the worker tells of it that has taken it.

        A worker answers in the order in which it is asked: if it does not know the job, then it has
        refused it before, or is lost.
        """
        job_id = watched.request.job_id
        try:
            async with asyncio.timeout(TAKEN_S_MAX):
                while True:
                    watched.changed.clear()
                    told = await self._told_by(watched.diffusion.worker_id, job_id)
                    if told is not None:
                        return told
                    if watched.error is not None:
                        raise watched.error
                    if watched.over:  # it was made at once, and is gone
                        return watched.job
                    await watched.changed.wait()
        except TimeoutError:
            raise Overloaded(
                "No worker had room for it in its queue. Please retry later."
            ) from None

    async def _watch(self, watched: WatchedJob) -> None:
        """Has a job moved whenever its worker is lost; cancelled, it says nothing of its end."""
        try:
            async for progress in watched.diffusion.progress():
                watched.note(progress)
        except MeshError as error:
            watched.error = error
        except Exception:
            log.exception("defect while watching job %s", watched.request.job_id)
            watched.error = InternalFault("The server had an error while it had this made.")
        self._remove(watched)
        watched.over = True
        if watched.taken:
            self._note_end(watched)
        watched.changed.set()

    def _note_end(self, watched: WatchedJob) -> None:
        error, job_id, now = watched.error, watched.request.job_id, self._loop.time()
        if isinstance(error, RequestAborted):
            self._memory.forget(job_id)
        elif error is not None:
            self._memory.note_failed(watched.failed(error, int(self._unix_s())), now)
        else:
            self._memory.note(watched.completed(), watched.diffusion.worker_id, now)
        if watched.diffusion.made is not None:
            self._note_made(watched.request.model, watched.diffusion.made)
        outcome = "completed" if error is None else error.code
        took_s = now - watched.begun_at
        self._metrics.note(watched.request.model, outcome, took_s)
        log_job(watched.diffusion, outcome, took_s=took_s)

    async def _told_by(self, worker_id: str, job_id: str) -> Job | None:
        """Returns what one worker tells of a job; None if that is nothing."""
        for worker in self._outputs.makers():
            if worker.worker_id == worker_id:
                try:
                    told = furthest(await self._outputs.jobs(worker, job_id))
                except MeshError:
                    return None
                if told is not None:
                    self._memory.note(told, worker_id, self._loop.time())
                return told
        return None

    async def _told_by_all(self, job_id: str) -> Job | None:
        makers = self._outputs.makers()
        told = await asyncio.gather(*(self._told_by(each.worker_id, job_id) for each in makers))
        found = furthest(job for job in told if job is not None)
        if found is not None:
            worker = makers[told.index(found)]
            self._memory.note(found, worker.worker_id, self._loop.time())
        return found

    def _judged(self, job: Job) -> Job:
        """Returns a job that is not watched here as its client is to be told of it."""
        if job.status != "failed":
            return job
        own = self._memory.failure(job.job_id, self._loop.time())
        return own or as_watched_elsewhere(job)

    def _add(self, watched: WatchedJob) -> None:
        self._watched[watched.request.job_id] = watched
        self._reference_bytes += watched.reference_bytes
        self._metrics.watched.set(len(self._watched))

    def _remove(self, watched: WatchedJob) -> None:
        if self._watched.pop(watched.request.job_id, None) is not None:
            self._reference_bytes -= watched.reference_bytes
            self._metrics.watched.set(len(self._watched))

    async def _stop(self, watched: WatchedJob) -> None:
        """Watches a job no longer."""
        self._remove(watched)
        if watched.task is not None:
            watched.task.cancel()
            await asyncio.wait([watched.task])
