"""Frontends fetch what a worker made in pieces, and ask for its jobs."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from protocol.diffusion import AskJobs, FetchOutput, JobsTold, OutputChunk
from protocol.process.log_floods import Complaint
from workers.engine import OutputSource

log = logging.getLogger(__name__)

READS_MAX: Final = 128
"""Bounds the pieces that one frontend is being given at a time, 32 MiB in memory: twice as many as
it may have requests here. One too many is not answered: the frontend asks again.
"""


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
        self._reads: Counter[Asker] = Counter()
        self._reading: set[asyncio.Task[None]] = set()
        self._complaint: Complaint | None = None

    @property
    def owed(self) -> int:
        """Returns for how many jobs and outputs a worker that leaves is to wait."""
        return len(self._reading) + (0 if self._source is None else self._source.owed)

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
        asker.send(told)

    def fetch(self, asker: Asker, fetch: FetchOutput) -> None:
        """Begins to answer with a piece of an output."""
        if self._source is None:
            asker.send(OutputChunk(fetch.query_id))
            return
        if self._reads[asker] >= READS_MAX:
            self._complain(f"frontend {asker.address} asks for too much at once")
            return
        self._reads[asker] += 1
        reading = self._read(self._source, asker, fetch)
        task = asyncio.get_running_loop().create_task(reading)
        self._reading.add(task)
        task.add_done_callback(partial(self._done, asker))

    def close(self) -> None:
        """Gives up what is being read."""
        for task in self._reading:
            task.cancel()

    async def _read(self, source: OutputSource, asker: Asker, fetch: FetchOutput) -> None:
        try:
            chunk = await source.read(fetch)
        except Exception:  # whatever a storage raises; the frontend asks again
            log.exception("an output could not be read")
            return
        if not asker.send(chunk):
            self._complain(f"frontend {asker.address} has no room for what it asked for")

    def _done(self, asker: Asker, task: "asyncio.Task[None]") -> None:
        self._reading.discard(task)
        self._reads[asker] -= 1
        if not self._reads[asker]:
            del self._reads[asker]
        self._on_change()

    def _complain(self, complaint: str) -> None:
        if self._complaint is not None and self._complaint.due():
            log.warning("%s", complaint)
