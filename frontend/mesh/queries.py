"""Asks workers to make tokens of prompts, for models whose frontend has no tokenizer.

Who finds every worker with its fill of questions waits, in order, for as long as its client does.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

import msgspec

from frontend.fleet.encoders import PROCESS
from frontend.fleet.registry import Registry
from frontend.fleet.worker import Worker
from frontend.mesh.open_questions import OpenQuestions
from protocol.errors import DeadlineExceeded, NoWorker, Overloaded, WorkerLost, error_from_code
from protocol.limits import HEARTBEAT_INTERVAL_S
from protocol.replies import Tokenized
from protocol.requests import Tokenize, ToWorker

log = logging.getLogger(__name__)

ASKED_MAX: Final = 256
"""Bounds the unanswered prompts of a worker: of 128 tokens it makes some two thousand a second, of
8k thirty.
"""

ANSWER_S_MAX: Final = 30.0
"""Bounds the wait for an answer: the longest prompts take a second or two; a worker whose queue is
full of them some more.
"""

REFUSED_PAUSE_S: Final = HEARTBEAT_INTERVAL_S
"""Is the pause, after every worker has said that others ask it too much, until they are asked
again: some tens of prompts are answered meanwhile.
"""

_ELSEWHERE: Final = (NoWorker, Overloaded, WorkerLost, DeadlineExceeded)
"""Lists the errors after which another worker may answer: the time that is over is that of the one
asked, since a request whose own is over ends by itself.
"""


class Queries:
    """Queries asks workers, each question the one that has the fewest, and another one if it is
    lost, full or silent.

    Args:
        send: sends a message to a worker; False when there is no room or nobody there.
        unix_s: wall clock, against which deadlines are meant.
    """

    def __init__(
        self,
        registry: Registry,
        send: Callable[[Worker, ToWorker], bool],
        unix_s: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._send = send
        self._unix_s = unix_s
        self._loop = asyncio.get_running_loop()
        self._open = OpenQuestions[Tokenized](_lost)
        """Is bounded by ASKED_MAX for each worker."""
        self._counts: Counter[str] = Counter()
        """Counts the unanswered prompts of each worker, by its id."""
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """Maps a card to questions without a worker that has room; their texts are bodies, of which
        there are as many as their budget allows.
        """

    async def ask(self, digest: str, query: Tokenize) -> Tokenized:
        """Returns the answer to a question, from whichever worker whose card has this digest.

        Raises:
            NoWorker: nobody serves the model, or whoever did was lost.
            DeadlineExceeded: workers were asked, and none answered within its ANSWER_S_MAX.
            InvalidRequest, EngineFault: the worker says that no tokens can be made of it.
        """
        try:
            return await self._ask(digest, query)
        finally:
            # also if there is no worker any more: the others must hear it too
            self._call_next(digest)

    def take(self, worker: Worker | None, answer: Tokenized) -> None:
        """Takes an answer; one that nobody waits for any more is ignored."""
        self._open.take(worker, answer)

    def worker_left(self, worker: Worker) -> None:
        """Puts the questions of a worker that is lost to others."""
        self._open.worker_left(worker)

    async def _ask(self, digest: str, query: Tokenize) -> Tokenized:
        tried: set[str] = set()
        crowded = called = False
        late: DeadlineExceeded | None = None
        while True:
            worker = self._choose(digest, tried)
            if worker is None and crowded:
                await asyncio.sleep(REFUSED_PAUSE_S)
                tried.clear()
                crowded = False
            elif worker is None:
                raise late or NoWorker(
                    f"No worker can make tokens of prompts for the model {query.model!r} at "
                    "the moment."
                )
            elif self._counts[worker.worker_id] >= ASKED_MAX or (
                self._waiting.get(digest) and not called
            ):
                await self._turn(digest, first=called)
                called = True
            else:
                tried.add(worker.worker_id)
                try:
                    return await self._answer(worker, query)
                except _ELSEWHERE as error:
                    crowded = crowded or isinstance(error, Overloaded)
                    late = error if isinstance(error, DeadlineExceeded) else late

    def _choose(self, digest: str, tried: set[str]) -> Worker | None:
        entry = self._registry.generation(digest)
        if entry is None:
            return None
        card = entry.served.card
        # processors have nothing else to do; they write prompts only with the very same files
        processors = [
            each
            for each in self._registry.encoders.of(card.name, card.media, PROCESS)
            if each.hello.card.files == card.files
            and each.hello.card.chat_template_file == card.chat_template_file
        ]
        for workers in (processors, entry.worker_of.values()):
            left = [worker for worker in workers if worker.worker_id not in tried]
            if left:
                return min(left, key=lambda worker: self._counts[worker.worker_id])
        return None

    async def _turn(self, digest: str, *, first: bool) -> None:
        """Waits until there may be room; `first` of all, if it has waited before and there was
        none.
        """
        turn: asyncio.Future[None] = self._loop.create_future()
        turns = self._waiting.setdefault(digest, deque())
        (turns.appendleft if first else turns.append)(turn)
        await turn

    def _call_next(self, digest: str) -> None:
        turns = self._waiting.get(digest)
        while turns:
            turn = turns.popleft()
            if not turn.done():
                turn.set_result(None)
                break
        if turns is not None and not turns:
            del self._waiting[digest]

    async def _answer(self, worker: Worker, query: Tokenize) -> Tokenized:
        query = msgspec.structs.replace(
            query, deadline_unix_ms=int((self._unix_s() + ANSWER_S_MAX) * 1000)
        )
        if not self._send(worker, query):
            raise WorkerLost(
                "The worker that was to tokenize this prompt cannot be reached.", cause="died"
            )
        self._counts[worker.worker_id] += 1
        try:
            with self._open.asked(query.query_id, worker) as future:
                async with asyncio.timeout(ANSWER_S_MAX):
                    answer = await future
        except TimeoutError:
            raise DeadlineExceeded(
                f"The prompt was not tokenized within {ANSWER_S_MAX:.0f} s."
            ) from None
        finally:
            self._counts[worker.worker_id] -= 1
            if not self._counts[worker.worker_id]:
                del self._counts[worker.worker_id]
        if (failed := answer.failed) is not None:
            raise error_from_code(failed.code, failed.message, failed.param)
        return answer


def _lost() -> WorkerLost:
    return WorkerLost("The worker that was to tokenize this prompt was lost.", cause="died")
