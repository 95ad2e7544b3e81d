"""Asks workers for what they made: outputs, piece by piece, and jobs."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final, TypeVar

from frontend.fleet.registry import Registry
from frontend.fleet.worker import Worker
from frontend.mesh.open_questions import OpenQuestions
from frontend.models.services import use_of
from protocol.diffusion import (
    OUTPUT_CHUNK_BYTES_MAX,
    AskJobs,
    FetchOutput,
    Job,
    JobsTold,
    Output,
    OutputChunk,
    worker_tag,
)
from protocol.errors import DeadlineExceeded, MeshError, WorkerLost
from protocol.requests import ToWorker

PIECES_MAX: Final = 64
"""Bounds the pieces that are asked for at once: 16 MiB; who wants one more waits for its turn."""

ANSWER_S_MAX: Final = 10.0
"""Bounds the wait for a piece, or for a list of jobs: a disk and a busy loop, no more."""

ROOM_AGAIN_S: Final = 0.1
"""Is the time after which a question is sent again that there was no room for; of a worker that is
lost it is soon known.
"""

_TAG_CHARS: Final = 16

AnswerT = TypeVar("AnswerT", JobsTold, OutputChunk)
Answer = JobsTold | OutputChunk


class Outputs:
    """Outputs asks the workers that make pictures and videos for what they made.

    Args:
        send: sends a message to a worker; False when there is no room or nobody there.
    """

    def __init__(
        self,
        registry: Registry,
        send: Callable[[Worker, ToWorker], bool],
        new_query_id: Callable[[], str],
    ) -> None:
        self._registry = registry
        self._send = send
        self._new_query_id = new_query_id
        self._open = OpenQuestions[Answer](_lost)
        """Is bounded by PIECES_MAX, and by the exchanges that ask for jobs."""
        self._pieces = asyncio.Semaphore(PIECES_MAX)

    def take(self, worker: Worker | None, answer: Answer) -> None:
        """Takes an answer; one that nobody waits for any more is ignored."""
        self._open.take(worker, answer)

    def worker_left(self, worker: Worker) -> None:
        """Fails the questions to a worker that is lost."""
        self._open.worker_left(worker)

    def makers(self) -> list[Worker]:
        """Returns the workers that make pictures or videos, those that drain included."""
        return [
            worker
            for worker in self._registry.workers.values()
            if use_of(worker.hello.service).makes_media
        ]

    async def find(self, output_id: str) -> Output | None:
        """Returns what is said of an output, by whichever worker has it; None if none does.

        Raises:
            WorkerLost, DeadlineExceeded: as `pieces`.
        """
        worker = self._maker_of(output_id)
        if worker is None:
            return None
        answer = await self._piece(worker, output_id, 0, 0)
        return answer.output

    async def pieces(self, output: Output, first: int = 0, end: int = -1) -> AsyncGenerator[bytes]:
        """Yields the bytes of an output from `first` to before `end` (-1: all), the next piece
        being fetched while one is used.

        Raises:
            WorkerLost: its worker has it no more, or is lost.
            DeadlineExceeded: the worker gave no answer within ANSWER_S_MAX.
        """
        end = output.size_bytes if end < 0 else min(end, output.size_bytes)
        worker = self._maker_of(output.output_id)
        if worker is None:
            raise _lost()
        loop, asking = asyncio.get_running_loop(), None
        try:
            while first < end:
                size = min(OUTPUT_CHUNK_BYTES_MAX, end - first)
                asking = asking or loop.create_task(
                    self._piece(worker, output.output_id, first, size)
                )
                answer, asking = await asking, None
                if len(answer.data) != size:
                    raise _lost()
                first += size
                if first < end:
                    following = min(OUTPUT_CHUNK_BYTES_MAX, end - first)
                    asking = loop.create_task(
                        self._piece(worker, output.output_id, first, following)
                    )
                yield answer.data
        finally:
            if asking is not None:
                asking.cancel()

    async def jobs(self, worker: Worker, job_id: str = "", *, forget: bool = False) -> list[Job]:
        """Returns a worker's jobs, or the one of that name; has it thrown away, if so asked.

        Raises:
            WorkerLost: it is lost.
            DeadlineExceeded: it gave no answer within ANSWER_S_MAX.
        """
        query = AskJobs(self._new_query_id(), job_id, forget=forget)
        return (await self._ask(worker, query, JobsTold)).jobs

    async def all_jobs(self, job_id: str = "", *, forget: bool = False) -> Sequence[Job]:
        """Returns the jobs of all workers, or of that name; a worker that gives no answer is left
        out.
        """
        told = await asyncio.gather(
            *(self.jobs(worker, job_id, forget=forget) for worker in self.makers()),
            return_exceptions=True,
        )
        jobs: list[Job] = []
        for each in told:
            if isinstance(each, list):
                jobs += each
            elif not isinstance(each, MeshError):
                raise each
        return jobs

    def _maker_of(self, output_id: str) -> Worker | None:
        tag = output_id[:_TAG_CHARS]
        return next(
            (
                worker
                for worker in self.makers()
                if worker_tag(worker.worker_id, worker.hello.epoch) == tag
            ),
            None,
        )

    async def _piece(self, worker: Worker, output_id: str, first: int, size: int) -> OutputChunk:
        async with self._pieces:
            query = FetchOutput(self._new_query_id(), output_id, first, size)
            return await self._ask(worker, query, OutputChunk)

    async def _ask(
        self, worker: Worker, query: AskJobs | FetchOutput, kind: type[AnswerT]
    ) -> AnswerT:
        try:
            with self._open.asked(query.query_id, worker) as future:
                async with asyncio.timeout(ANSWER_S_MAX):
                    while not self._send(worker, query):
                        await asyncio.sleep(ROOM_AGAIN_S)
                        if future.done():
                            break  # it is lost
                    answer = await future
        except TimeoutError:
            raise DeadlineExceeded(
                f"The worker that has it gave no answer within {ANSWER_S_MAX:.0f} s."
            ) from None
        if not isinstance(answer, kind):
            raise _lost()
        return answer


def _lost() -> WorkerLost:
    return WorkerLost("The worker that made it is gone, or has it no more.")
