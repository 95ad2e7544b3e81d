"""Frontends fetch what a worker made in pieces, and ask for its jobs."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Final, Protocol

from protocol.diffusion import AskJobs, FetchOutput, JobsTold, OutputChunk
from protocol.process.log_floods import Complaint
from workers.engine import OutputSource

log = logging.getLogger(__name__)

ANSWERS_MAX: Final = 128
"""Bounds the answers that one frontend is being given at a time, mostly pieces, 32 MiB in memory:
twice as many as a frontend asks for. One too many is not answered, and its asker gives it up.
"""

ROOM_S_MAX: Final = 5.0
"""Bounds the wait until a frontend has room for an answer: what is slower for so long is given up,
as its asker gives it up after twice as long.
"""

ROOM_AGAIN_S: Final = 0.1
"""Is the time after which it is tried again: tokens leave in between."""


class Asker(Protocol):
    """An Asker is a frontend, as its questions see it."""

    address: str

    def send(self, message: JobsTold | OutputChunk) -> bool:
        """Sends an answer; False when there is no room or nobody there."""
        ...


class OutputsPart:
    """An OutputsPart answers frontends out of what the engine has made, if it makes such things."""

    def __init__(self) -> None:
        self._source: OutputSource | None = None
        self._on_change: Callable[[], None] = lambda: None
        self._answers: Counter[Asker] = Counter()
        self._answering: set[asyncio.Task[None]] = set()
        self._complaint: Complaint | None = None

    @property
    def owed(self) -> int:
        """Returns for how many jobs and outputs a worker that leaves is to wait."""
        return len(self._answering) + (0 if self._source is None else self._source.owed)

    def open(self, source: OutputSource, tag: str, on_change: Callable[[], None]) -> None:
        """Begins to answer, as OutputSource says."""
        self._source, self._on_change = source, on_change
        self._complaint = Complaint(asyncio.get_running_loop().time)
        source.open(tag, on_change)

    def hand_back(self) -> None:
        """Lets no order wait any more, as the worker leaves."""
        if self._source is not None:
            self._source.hand_back()

    def tell(self, asker: Asker, ask: AskJobs) -> None:
        """Answers a question for jobs; a worker that makes none has none."""
        told = JobsTold(ask.query_id) if self._source is None else self._source.tell(ask)
        if not asker.send(told):
            self._begin(asker, self._send(asker, told))

    def fetch(self, asker: Asker, fetch: FetchOutput) -> None:
        """Begins to answer with a piece of an output."""
        if self._source is None:
            asker.send(OutputChunk(fetch.query_id))
        else:
            self._begin(asker, self._read(self._source, asker, fetch))

    def close(self) -> None:
        """Gives up what is being read."""
        for task in self._answering:
            task.cancel()

    def _begin(self, asker: Asker, answering: Coroutine[None, None, None]) -> None:
        if self._answers[asker] >= ANSWERS_MAX:
            answering.close()
            self._complain(f"frontend {asker.address} asks for too much at once")
            return
        self._answers[asker] += 1
        task = asyncio.get_running_loop().create_task(answering)
        self._answering.add(task)
        task.add_done_callback(partial(self._done, asker))

    async def _read(self, source: OutputSource, asker: Asker, fetch: FetchOutput) -> None:
        try:
            chunk = await source.read(fetch)
        except Exception:  # whatever a storage raises; the frontend gives it up
            log.exception("an output could not be read")
            return
        await self._send(asker, chunk)

    async def _send(self, asker: Asker, answer: JobsTold | OutputChunk) -> None:
        """Sends an answer, as soon as there is room."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + ROOM_S_MAX
        while not asker.send(answer):
            if loop.time() >= ends_at:
                self._complain(f"frontend {asker.address} has no room for what it asked for")
                return
            await asyncio.sleep(ROOM_AGAIN_S)

    def _done(self, asker: Asker, task: "asyncio.Task[None]") -> None:
        self._answering.discard(task)
        self._answers[asker] -= 1
        if not self._answers[asker]:
            del self._answers[asker]
        self._on_change()

    def _complain(self, complaint: str) -> None:
        if self._complaint is not None and self._complaint.due():
            log.warning("%s", complaint)
