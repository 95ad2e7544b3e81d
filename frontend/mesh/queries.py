"""Prompts that workers are asked to make tokens of, for models whose frontend has no tokenizer."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from frontend.mesh.registry import Registry
from frontend.mesh.worker import Worker
from protocol.errors import DeadlineExceeded, MeshError, NoWorker, Overloaded, WorkerLost, error_from_code
from protocol.replies import Tokenized
from protocol.requests import Tokenize, ToWorker

log = logging.getLogger(__name__)

ASKED_MAX: Final = 256
"""Unanswered prompts of a worker: of 128 tokens it makes some two thousand a second, of 8k thirty."""

ANSWER_S_MAX: Final = 30.0
"""The longest prompts take a second or two; a worker whose queue is full of them some more."""

_ELSEWHERE: Final = frozenset({NoWorker.code, Overloaded.code, WorkerLost.code})
"""Refusals after which another worker may answer."""


class Queries:
    """Asks workers, each question the one that has the fewest, and another one if it is lost.

    Args:
        send: sends a message to a worker; False when there is no room or nobody there.
    """

    def __init__(self, registry: Registry, send: Callable[[Worker, ToWorker], bool]) -> None:
        self._registry = registry
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._asked: dict[str, tuple[Worker, asyncio.Future[Tokenized]]] = {}
        self._counts: Counter[str] = Counter()
        """Unanswered prompts of each worker, by its id."""

    async def ask(self, query: Tokenize) -> Tokenized:
        """The answer to a question, from whichever worker of its model.

        Raises:
            NoWorker: nobody serves the model, or whoever did was lost.
            Overloaded: every worker has its fill of questions.
            DeadlineExceeded: no answer within ANSWER_S_MAX.
            InvalidRequest, EngineFault: the worker says that no tokens can be made of it.
        """
        tried: set[str] = set()
        refused: MeshError | None = None
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                while True:
                    worker = self._choose(query.model, tried, refused)
                    tried.add(worker.worker_id)
                    try:
                        answer = await self._answer(worker, query)
                    except WorkerLost as error:
                        refused = error
                        continue
                    if answer.failed is None:
                        return answer
                    refused = error_from_code(answer.failed.code, answer.failed.message, answer.failed.param)
                    if answer.failed.code not in _ELSEWHERE:
                        raise refused
        except TimeoutError:
            raise DeadlineExceeded(f"The prompt was not tokenized within {ANSWER_S_MAX:.0f} s.") from None

    def take(self, worker: Worker | None, answer: Tokenized) -> None:
        """An answer arrived; one that nobody waits for any more is ignored."""
        asked, future = self._asked.get(answer.query_id, (None, None))
        if future is not None and asked is worker and not future.done():
            future.set_result(answer)

    def worker_left(self, worker: Worker) -> None:
        """Its questions are put to others."""
        for asked, future in list(self._asked.values()):
            if asked is worker and not future.done():
                future.set_exception(WorkerLost("The worker that was to tokenize this prompt was lost.", cause="died"))

    def _choose(self, model: str, tried: set[str], refused: MeshError | None) -> Worker:
        entry = self._registry.entry(model)
        workers = [] if entry is None else [worker for worker in entry.worker_of.values() if worker.worker_id not in tried]
        if not workers:
            if isinstance(refused, Overloaded):
                raise refused
            raise NoWorker(f"No worker can make tokens of prompts for the model {model!r} at the moment.")
        worker = min(workers, key=lambda worker: self._counts[worker.worker_id])
        if self._counts[worker.worker_id] >= ASKED_MAX:
            raise Overloaded("Too many prompts are waiting to be tokenized.")
        return worker

    async def _answer(self, worker: Worker, query: Tokenize) -> Tokenized:
        if not self._send(worker, query):
            raise WorkerLost("The worker that was to tokenize this prompt cannot be reached.", cause="died")
        future: asyncio.Future[Tokenized] = self._loop.create_future()
        self._asked[query.query_id] = worker, future
        self._counts[worker.worker_id] += 1
        try:
            return await future
        finally:
            del self._asked[query.query_id]
            self._counts[worker.worker_id] -= 1
            if not self._counts[worker.worker_id]:
                del self._counts[worker.worker_id]
