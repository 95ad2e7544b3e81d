"""A load of so many users at once: each asks, reads the whole answer, and asks the next thing."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import psutil

from frontend.cli.bench.asking import Asking
from frontend.cli.bench.streamed import StreamedAnswer, Usage

FAILURES_IN_A_ROW_MAX: Final = 10
"""Bounds how often a user fails before they give up."""

FAILED_PAUSE_S: Final = 0.1
"""Keeps users who are refused from doing nothing else than asking."""

LATE_EVERY_S: Final = 0.02
"""Is how often it is looked whether this process comes to its turn in time."""

clock: Final = time.perf_counter


@dataclass(frozen=True)
class Record:
    """A Record is one request that was measured, times in seconds of one clock.

    Attributes:
        times: when each piece of text arrived.
        error: why there was no whole answer; None if there was.
    """

    sent_at: float
    ended_at: float
    times: list[float]
    usage: Usage | None
    error: str | None


@dataclass
class Window:
    """A Window is the time that counts, and what arrived in it.

    Attributes:
        pieces: of text that arrived, whoever asked for them.
        whole: answers that ended well.
    """

    opened_at: float = math.inf
    closes_at: float = math.inf
    pieces: int = 0
    whole: int = 0

    def note_piece(self, at: float) -> None:
        """Counts a piece if it arrived in the window."""
        if self.opened_at <= at <= self.closes_at:
            self.pieces += 1


@dataclass
class Outcome:
    """An Outcome is what one load came to.

    Attributes:
        records: of requests that were begun in the window.
        failed_before: why requests failed before it.
        cpu_s: seconds of CPU that this process took in the window.
        host_cpu_share: of all cores of this host, that whoever took in it.
        late_s: how late this process came to its turn, sample by sample.
    """

    concurrency: int
    window: Window = field(default_factory=Window)
    records: list[Record] = field(default_factory=list[Record])
    failed_before: list[str] = field(default_factory=list[str])
    cpu_s: float = 0.0
    host_cpu_share: float = 0.0
    late_s: list[float] = field(default_factory=list[float])


@dataclass(frozen=True)
class Limit:
    """A Limit says how long a load is measured: for so many seconds, or so many requests."""

    seconds: float | None
    requests: int | None


class Load:
    """A Load asks by so many users at once.

    Each user's first request warms the server up and is not measured; the window opens when every
    user has made one, and then all go on without a pause until it closes.

    Args:
        new_user: makes who asks.
        new_request: makes the bytes of the next request.
    """

    def __init__(
        self,
        concurrency: int,
        limit: Limit,
        new_user: Callable[[], Asking],
        new_request: Callable[[], bytes],
    ) -> None:
        self.outcome = Outcome(concurrency)
        self._limit = limit
        self._new_user = new_user
        self._new_request = new_request
        self._warm = 0
        self._begun = 0
        self._cpu_s = 0.0
        self._closed = False

    @property
    def warm(self) -> bool:
        """Tells whether the window has opened."""
        return self.outcome.window.opened_at < math.inf

    async def run(self) -> Outcome:
        """Runs until the window has closed and whoever was asking has their answer."""
        watching = asyncio.create_task(self._watch_turns())
        try:
            async with asyncio.TaskGroup() as users:
                for _ in range(self.outcome.concurrency):
                    users.create_task(self._user())
        finally:
            watching.cancel()
        self._close()
        return self.outcome

    async def _user(self) -> None:
        asking, failures, is_warm = self._new_user(), 0, False
        try:
            while failures < FAILURES_IN_A_ROW_MAX and not self._over():
                record = await self._one(asking)
                if not is_warm:
                    is_warm = True
                    self._warmed()
                failures = failures + 1 if record.error else 0
                if failures:
                    await asyncio.sleep(FAILED_PAUSE_S)
        finally:
            asking.close()

    async def _one(self, asking: Asking) -> Record:
        """Asks once; what comes of it is kept if it was begun in the window."""
        window, measured = self.outcome.window, self.warm
        self._begun += measured
        request = self._new_request()
        answer = StreamedAnswer(clock, window.note_piece)
        sent_at = clock()
        try:
            await asking.ready()  # a new connection is not the answer's time
            sent_at = clock()
        except OSError:
            pass  # told by what follows
        await asking.send(request, answer)
        record = Record(sent_at, clock(), answer.times, answer.usage, answer.error)
        if record.error is None:
            window.whole += window.opened_at <= record.ended_at <= window.closes_at
        if measured:
            self.outcome.records.append(record)
        elif record.error is not None:
            self.outcome.failed_before.append(record.error)
        if len(self.outcome.records) == self._limit.requests:
            self._close()
        return record

    def _over(self) -> bool:
        """Tells whether nothing is to be begun any more."""
        if self._limit.requests is not None and self._begun >= self._limit.requests:
            return True
        return clock() >= self.outcome.window.closes_at

    def _warmed(self) -> None:
        self._warm += 1
        if self._warm < self.outcome.concurrency:
            return
        self._cpu_s = time.process_time()
        psutil.cpu_percent()  # from here on
        window = self.outcome.window
        window.opened_at = clock()
        if self._limit.seconds is not None:
            window.closes_at = window.opened_at + self._limit.seconds
            asyncio.get_running_loop().call_later(self._limit.seconds, self._close)

    def _close(self) -> None:
        if self._closed or not self.warm:
            return
        self._closed = True
        self.outcome.window.closes_at = min(self.outcome.window.closes_at, clock())
        self.outcome.cpu_s = time.process_time() - self._cpu_s
        self.outcome.host_cpu_share = psutil.cpu_percent() / 100

    async def _watch_turns(self) -> None:
        while True:
            due = clock() + LATE_EVERY_S
            await asyncio.sleep(LATE_EVERY_S)
            if self.warm and not self._closed:
                self.outcome.late_s.append(clock() - due)
