"""Keeps questions to workers until they are answered, or the worker is lost."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from frontend.fleet.worker import Worker
from protocol.errors import WorkerLost


class Answer(Protocol):
    """An Answer names the question that it answers."""

    @property
    def query_id(self) -> str: ...


AnswerT = TypeVar("AnswerT", bound=Answer)


class OpenQuestions(Generic[AnswerT]):
    """OpenQuestions are those that a frontend put to workers and that are not answered yet.

    Bounded by whoever asks.

    Args:
        lost: what a question fails with whose worker is lost.
    """

    def __init__(self, lost: Callable[[], WorkerLost]) -> None:
        self._lost = lost
        self._asked: dict[str, tuple[Worker, asyncio.Future[AnswerT]]] = {}

    @contextmanager
    def asked(self, query_id: str, worker: Worker) -> Generator[asyncio.Future[AnswerT]]:
        """Yields what becomes the answer to a question that this worker is asked meanwhile."""
        future: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._asked[query_id] = worker, future
        try:
            yield future
        finally:
            del self._asked[query_id]

    def take(self, worker: Worker | None, answer: AnswerT) -> None:
        """Takes an answer; one that nobody waits for any more is ignored."""
        asked, future = self._asked.get(answer.query_id, (None, None))
        if future is not None and asked is worker and not future.done():
            future.set_result(answer)

    def worker_left(self, worker: Worker) -> None:
        """Fails the questions to a worker that is lost."""
        for asked, future in list(self._asked.values()):
            if asked is worker and not future.done():
                future.set_exception(self._lost())
