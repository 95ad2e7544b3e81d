"""A row of the fault table: a fleet, a hundred streams, one fault in mid-flight, and what came of
it.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from bench.faults.client import Answer, call
from bench.faults.crowd import Crowd, Gaps, body_of
from bench.faults.fleet import Fleet, FleetShape, Frontend, thaw
from bench.kit.usage import TICKS_PER_S, cpu_s

STREAMS = 100
MAX_TOKENS = 600
FAULT_AFTER_S = 0.6
"""From the last stream's first token to the fault: all are in mid-flight, and the usual gap is
known.
"""

CAUSES = "worker {0} (left|is unhealthy|drains)"


@dataclass
class Bench:
    """What rows share.

    Attributes:
        texts: what each stream says undisturbed.
    """

    speedup: float
    texts: dict[int, str] = field(default_factory=dict[int, str])
    streams: int = STREAMS
    max_tokens: int = MAX_TOKENS

    def crowd(self, count: int | None = None, offset: int = 0) -> Crowd:
        """Streams that have not begun."""
        return Crowd(
            count or self.streams, max_tokens=self.max_tokens, texts=self.texts, offset=offset
        )


@dataclass
class Outcome:
    """What a row found.

    Seconds and ms as the names say.

    Attributes:
        seen: by the clients, in words.
        notice_s: from the fault to `notice`, which says by what it was noticed.
        gap_max_ms: longest time without a token in any stream from the fault on; `usual`: gaps
        before the fault.
        lost: requests that did not get the answer they should have.
    """

    name: str
    fault: str
    seen: str = ""
    requests: int = 0
    finished: int = 0
    errors: dict[str, int] = field(default_factory=dict[str, int])
    lost: int = 0
    texts_equal: int = 0
    notice_s: float | None = None
    notice: str = ""
    gap_max_ms: float | None = None
    usual: Gaps | None = None
    moved: int = 0
    more: dict[str, Any] = field(default_factory=dict[str, Any])

    def take(self, crowd: Crowd, fault_at: float) -> None:
        """Add what became of the streams; `fault_at` in monotonic seconds."""
        self.requests += len(crowd.answers)
        self.finished += crowd.finished()
        for code, count in crowd.errors().items():
            self.errors[code] = self.errors.get(code, 0) + count
        self.texts_equal += crowd.texts_equal()
        self.lost = self.requests - self.finished
        self.usual = crowd.gaps(until=fault_at)
        self.gap_max_ms = crowd.gaps(since=fault_at).max
        if not self.seen:
            self.seen = f"{self.finished} whole answers" + (
                f", {self.errors}" if self.errors else ""
            )

    def take_notice(self, frontend: Frontend, worker: str, fault_unix_s: float) -> None:
        """When the frontend's log first says that the worker is no use, or does not get more."""
        said = frontend.said(CAUSES.format(worker), fault_unix_s)
        if said is not None:
            self.notice_s, self.notice = round(said[0], 3), f"log: {said[1]}"


Play = Callable[[Fleet, Bench, Outcome], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    """A name, what is done to the fleet, and how."""

    name: str
    fault: str
    play: Play
    shape: FleetShape = field(default_factory=FleetShape)
    prepare: Callable[[Fleet, ExitStack], None] | None = None

    def run(self, bench: Bench) -> Outcome:
        """Start the fleet, play, end everything."""
        outcome = Outcome(self.name, self.fault)
        with ExitStack() as stack:
            fleet = Fleet(self.shape, stack, name=self.name, speedup=bench.speedup)
            if self.prepare is not None:
                self.prepare(fleet, stack)
            stack.callback(thaw, fleet)
            fleet.start()
            busy = Busy(fleet)
            uvloop.run(_play(self, fleet, bench, outcome))
            outcome.more |= busy.readings()
            outcome.moved = sum(_moved(frontend) for frontend in fleet.frontends)
        return outcome


async def _play(row: Row, fleet: Fleet, bench: Bench, outcome: Outcome) -> None:
    await row.play(fleet, bench, outcome)


def _moved(frontend: Frontend) -> int:
    if frontend.process is None or not frontend.process.alive():
        return 0
    try:
        return int(frontend.metric("kvmesh_frontend_migrations_total", outcome="moved"))
    except OSError:
        return 0


def _machine_busy_s() -> float:
    """CPU seconds that this machine has worked since it started (proc(5), /proc/stat: user, nice
    and system).
    """
    return sum(int(ticks) for ticks in Path("/proc/stat").read_text().split()[1:4]) / TICKS_PER_S


class Busy:
    """Cores that were busy in a row: with the client, with the frontends, and with everything that
    ran here, strangers included.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._frontends = [frontend.process.pid for frontend in fleet.frontends if frontend.process]
        self._began, self._client_s = time.monotonic(), time.process_time()
        self._frontend_s, self._machine_s = self._cpu(), _machine_busy_s()

    def readings(self) -> dict[str, Any]:
        """From the beginning to here."""
        wall_s = time.monotonic() - self._began
        return {
            "client_cores": round((time.process_time() - self._client_s) / wall_s, 2),
            "frontend_cores": round(max(0.0, self._cpu() - self._frontend_s) / wall_s, 2),
            "machine_cores": round((_machine_busy_s() - self._machine_s) / wall_s, 2),
            "load_1min": round(os.getloadavg()[0], 2),
        }

    def _cpu(self) -> float:
        total = 0.0
        for pid in self._frontends:
            try:
                total += cpu_s(pid)
            except OSError:
                continue
        return total


async def in_flight(fleet: Fleet, bench: Bench, crowd: Crowd | None = None) -> Crowd:
    """A crowd in mid-flight."""
    crowd = crowd or bench.crowd()
    await crowd.begin(fleet.ports[:1])
    await asyncio.sleep(FAULT_AFTER_S)
    return crowd


async def pinned(fleet: Fleet, worker: str, *, seed: int) -> Answer:
    """A request to one worker alone that asks for a fault (workers/sim/faults.py); what becomes of
    it is no stream's business.
    """
    asked = await call(
        fleet.ports[0],
        body_of(999_000 + seed, max_tokens=50, seed=seed, nvext={"backend_instance_id": worker}),
    )
    return await asyncio.wait_for(asked.ended, 30)


def signalled(number: int, sign: int) -> Play:
    """A play that sends a signal to one worker."""

    async def play(fleet: Fleet, bench: Bench, outcome: Outcome) -> None:
        crowd = await in_flight(fleet, bench)
        fault_at, fault_unix_s = time.monotonic(), fleet.signal_worker(number, sign)
        await crowd.end()
        outcome.take(crowd, fault_at)
        outcome.take_notice(fleet.frontends[0], f"w{number}", fault_unix_s)
        if sign == signal.SIGTERM:
            outcome.more["exit_code"] = await asyncio.to_thread(fleet.exit_code, number)

    return play
