"""Rows: ten times as many requests as the fleet can serve."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.faults.arrivals import Lateness, offer
from bench.faults.client import Answer, ask
from bench.faults.crowd import body_of, percentile
from bench.faults.fleet import Fleet, FleetShape, Frontend
from bench.faults.row import Bench, Outcome, Row
from bench.processes import peak_rss_mib, reset_peak_rss, rss_mib

TOKENS_MEAN = 60
UNCONGESTED_SHARE = 0.5
OVERLOAD = 10
CALM_S, BURST_S, AFTER_S = 12.0, 15.0, 8.0
CAPACITY_S = 6.0
CLOSED_CLIENTS = 48
"""As many as the fleet runs at once."""


def _equal(_: int) -> int:
    """Tokens of a request: all the same, so that whole batches end in one step, and places come free in bursts."""
    return TOKENS_MEAN


def _mixed(number: int) -> int:
    """Tokens of a request: 20 to 100."""
    return random.Random(number).randint(20, 2 * TOKENS_MEAN - 20)


Lengths = Callable[[int], int]


@dataclass
class Phase:
    """Requests that arrived in one stretch of time."""

    answers: list[Answer] = field(default_factory=list[Answer])
    finished: int = 0
    """Those that came to their end with the usage they should have."""

    @property
    def served(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status == 200]

    @property
    def refused(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status in (429, 503)]

    def ttft_ms(self, share: float) -> float:
        """Of those that were served."""
        return round(1000 * percentile([answer.ttft_s for answer in self.served], share), 1)

    def refusal_ms(self, share: float) -> float:
        """From asking to the answer's first byte."""
        return round(1000 * percentile([answer.ttft_s for answer in self.refused], share), 1)


async def _phase(fleet: Fleet, lengths: Lengths, rate_per_s: float, duration_s: float, seed: int, lateness: Lateness) -> Phase:
    phase = Phase()

    async def one(number: int) -> None:
        number += seed * 100_000
        try:
            answer = await ask(fleet.ports[0], body_of(number, max_tokens=lengths(number)))
        except OSError:
            answer = Answer(time.monotonic())
        phase.answers.append(answer)
        phase.finished += not answer.error and answer.completion_tokens == lengths(number)

    await offer(rate_per_s, duration_s, random.Random(seed), lateness, one)
    return phase


async def _capacity_per_s(fleet: Fleet, lengths: Lengths) -> float:
    """What the fleet serves when every place is always taken."""
    done, end = 0, time.monotonic() + CAPACITY_S

    async def client(number: int) -> None:
        nonlocal done
        turn = 0
        while time.monotonic() < end:
            request = 10_000_000 + number * 1000 + turn
            await ask(fleet.ports[0], body_of(request, max_tokens=lengths(request)))
            done += time.monotonic() < end
            turn += 1

    await asyncio.gather(*(client(number) for number in range(CLOSED_CLIENTS)))
    return done / CAPACITY_S


def _queue_waits(frontend: Frontend) -> tuple[float, float]:
    """Seconds that placed requests have waited altogether, and how many they are."""
    name = "kvmesh_router_queue_seconds"
    return frontend.metric(f"{name}_sum"), frontend.metric(f"{name}_count")


def _recovered_s(after: Phase, ended_at: float, usual_s: float) -> float:
    """From the end of the burst to the first second in which nobody is refused and nine of ten get their first token as usual."""
    for tenths in range(int(10 * AFTER_S)):
        begin = ended_at + tenths / 10
        second = [answer for answer in after.answers if begin <= answer.asked_at < begin + 1]
        if all(answer.status == 200 for answer in second) and percentile([answer.ttft_s for answer in second], 0.9) <= usual_s:
            return tenths / 10
    return AFTER_S


async def _overload(fleet: Fleet, outcome: Outcome, lengths: Lengths) -> None:
    frontend = fleet.frontends[0]
    assert frontend.process is not None
    pid = frontend.process.pid
    capacity = await _capacity_per_s(fleet, lengths)
    late = Lateness()
    calm = await _phase(fleet, lengths, capacity * UNCONGESTED_SHARE, CALM_S, 1, late)
    before_mib = rss_mib(pid)
    reset_peak_rss(pid)
    late = Lateness()
    queue = await asyncio.to_thread(_queue_waits, frontend)
    burst_task = asyncio.ensure_future(_phase(fleet, lengths, capacity * OVERLOAD, BURST_S, 2, late))
    await asyncio.sleep(BURST_S)
    ended_at = time.monotonic()
    after = await _phase(fleet, lengths, capacity * UNCONGESTED_SHARE, AFTER_S, 3, Lateness())
    burst = await burst_task
    queue_s, placed = (after_ - before for after_, before in zip(_queue_waits(frontend), queue, strict=True))
    usual_s = percentile([answer.ttft_s for answer in calm.served], 0.99)
    everything = [*calm.answers, *burst.answers, *after.answers]
    codes = Counter(answer.error for answer in everything if answer.error)
    outcome.requests = len(everything)
    outcome.finished = calm.finished + burst.finished + after.finished
    refused = sum(len(phase.refused) for phase in (calm, burst, after))
    outcome.lost = outcome.requests - outcome.finished - refused
    outcome.errors = dict(codes)
    outcome.seen = f"{outcome.finished} whole answers, {refused} refused {dict(codes)}"
    outcome.notice_s, outcome.notice = burst.refusal_ms(0.99) / 1000, "p99 of a refusal"
    outcome.more |= {
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(len(burst.answers) / BURST_S),
        "served_per_s": round(len(burst.served) / BURST_S, 1),
        "ttft_ms p50/p99 at half load": f"{calm.ttft_ms(0.5)}/{calm.ttft_ms(0.99)}",
        "at ten times": f"{burst.ttft_ms(0.5)}/{burst.ttft_ms(0.99)}",
        "of that in the frontend's queue, mean": round(1000 * queue_s / max(1.0, placed), 1),
        "refusal_ms p50/p99/max": f"{burst.refusal_ms(0.5)}/{burst.refusal_ms(0.99)}/{burst.refusal_ms(1.0)}",
        "recovered_s": _recovered_s(after, ended_at, usual_s),
        "refused afterwards": len(after.refused),
        "frontend_rss_mib before/highest/after": f"{before_mib:.0f}/{peak_rss_mib(pid):.0f}/{rss_mib(pid):.0f}",
        "generator_late_ms_max": round(1000 * late.s_max),
    }


def _row(name: str, how: str, lengths: Lengths) -> Row:
    async def play(fleet: Fleet, _: Bench, outcome: Outcome) -> None:
        await _overload(fleet, outcome, lengths)

    shape = FleetShape(workers=3, worker_options=("--max-running-requests", "16"), frontend_options=("--shed-load",))
    return Row(name, f"ten times the load the fleet can serve, for {BURST_S:g} s; {how}", play, shape)


ROWS = [
    _row("overload", "answers of 20 to 100 tokens", _mixed),
    _row("overload-equal", "answers of equal length", _equal),
]
