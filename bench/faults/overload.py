"""Rows: ten times as many requests as the fleet can serve, where they wait until their deadlines
and where load is shed.
"""

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
from bench.kit.usage import peak_rss_mib, reset_peak_rss, rss_mib

TOKENS_MEAN = 60
UNCONGESTED_SHARE = 0.5
OVERLOAD = 10
CALM_S, AFTER_S = 12.0, 16.0
CAPACITY_S = 6.0
WAITING_S = 10.0
"""Time-out of a request where nobody is refused: a sixth of the flood, so that nearly all of it is
a time of deadlines.
"""


def _equal(_: int) -> int:
    """Tokens of a request: all the same, so that whole batches end in one step, and places come
    free in bursts.
    """
    return TOKENS_MEAN


def _mixed(number: int) -> int:
    """Tokens of a request: 20 to 100."""
    return random.Random(number).randint(20, 2 * TOKENS_MEAN - 20)


Lengths = Callable[[int], int]


@dataclass
class Phase:
    """Requests that arrived in one stretch of time."""

    answers: list[Answer] = field(default_factory=list[Answer])
    finished: list[Answer] = field(default_factory=list[Answer])
    """Those that came to their end with the usage they should have."""

    @property
    def served(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status == 200]

    @property
    def refused(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status in (429, 503)]

    @property
    def late(self) -> list[Answer]:
        """Those whose time was over before an answer, or its end."""
        return [answer for answer in self.answers if answer.error == "deadline_exceeded"]

    def ttft_ms(self, share: float) -> float:
        """Of those that were served."""
        return round(1000 * percentile([answer.ttft_s for answer in self.served], share), 1)

    def refusal_ms(self, share: float) -> float:
        """From asking to the answer's first byte."""
        return round(1000 * percentile([answer.ttft_s for answer in self.refused], share), 1)


async def _phase(
    fleet: Fleet,
    lengths: Lengths,
    rate_per_s: float,
    duration_s: float,
    seed: int,
    lateness: Lateness,
) -> Phase:
    phase = Phase()

    async def one(number: int) -> None:
        number += seed * 100_000
        try:
            answer = await ask(fleet.ports[0], body_of(number, max_tokens=lengths(number)))
        except OSError:
            answer = Answer(time.monotonic())
        phase.answers.append(answer)
        if not answer.error and answer.completion_tokens == lengths(number):
            phase.finished.append(answer)

    await offer(rate_per_s, duration_s, random.Random(seed), lateness, one)
    return phase


async def _capacity_per_s(fleet: Fleet, lengths: Lengths, places: int) -> float:
    """What the fleet serves when each of its places is always taken."""
    done, end = 0, time.monotonic() + CAPACITY_S

    async def client(number: int) -> None:
        nonlocal done
        turn = 0
        while time.monotonic() < end:
            request = 10_000_000 + number * 1000 + turn
            await ask(fleet.ports[0], body_of(request, max_tokens=lengths(request)))
            done += time.monotonic() < end
            turn += 1

    await asyncio.gather(*(client(number) for number in range(places)))
    return done / CAPACITY_S


def _queue_waits(frontend: Frontend) -> tuple[float, float]:
    """Seconds that placed requests have waited altogether, and how many they are."""
    name = "kvmesh_router_queue_seconds"
    return frontend.metric(f"{name}_sum"), frontend.metric(f"{name}_count")


def _recovered_s(after: Phase, ended_at: float, usual_s: float) -> float:
    """From the end of the burst to the first second in which nobody is refused and nine of ten get
    their first token as usual.
    """
    for tenths in range(int(10 * AFTER_S)):
        begin = ended_at + tenths / 10
        second = [answer for answer in after.answers if begin <= answer.asked_at < begin + 1]
        if (
            all(answer.status == 200 for answer in second)
            and percentile([answer.ttft_s for answer in second], 0.9) <= usual_s
        ):
            return tenths / 10
    return AFTER_S


async def _overload(
    fleet: Fleet, outcome: Outcome, lengths: Lengths, *, places: int, burst_s: float
) -> None:
    frontend = fleet.frontends[0]
    assert frontend.process is not None
    pid = frontend.process.pid
    capacity = await _capacity_per_s(fleet, lengths, places)
    late = Lateness()
    calm = await _phase(fleet, lengths, capacity * UNCONGESTED_SHARE, CALM_S, 1, late)
    before_mib = rss_mib(pid)
    reset_peak_rss(pid)
    late = Lateness()
    queue = await asyncio.to_thread(_queue_waits, frontend)
    burst_task = asyncio.ensure_future(
        _phase(fleet, lengths, capacity * OVERLOAD, burst_s, 2, late)
    )
    await asyncio.sleep(burst_s)
    ended_at = time.monotonic()
    after = await _phase(fleet, lengths, capacity * UNCONGESTED_SHARE, AFTER_S, 3, Lateness())
    burst = await burst_task
    queue_s, placed = (
        after_ - before for after_, before in zip(_queue_waits(frontend), queue, strict=True)
    )
    usual_s = percentile([answer.ttft_s for answer in calm.served], 0.99)
    everything = [*calm.answers, *burst.answers, *after.answers]
    codes = Counter(answer.error for answer in everything if answer.error)
    outcome.requests = len(everything)
    phases = calm, burst, after
    outcome.finished = sum(len(phase.finished) for phase in phases)
    refused, late_ones = (
        sum(len(phase.refused) for phase in phases),
        sum(len(phase.late) for phase in phases),
    )
    outcome.lost = outcome.requests - outcome.finished - refused - late_ones
    outcome.errors = dict(codes)
    outcome.seen = (
        f"{outcome.finished} whole answers, {refused} refused, {late_ones} past their time "
        f"{dict(codes)}"
    )
    in_time = sum(answer.ended_at <= ended_at for answer in burst.finished)
    outcome.notice_s, outcome.notice = burst.refusal_ms(0.99) / 1000, "p99 of a refusal"
    outcome.more |= {
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(len(burst.answers) / burst_s),
        "finished_per_s": round(in_time / burst_s, 1),
        "of capacity": round(in_time / burst_s / capacity, 3),
        "begun and not finished": len(burst.served) - len(burst.finished),
        "longest whole answer_s": round(
            max((answer.ended_at - answer.asked_at for answer in burst.finished), default=0.0), 2
        ),
        "ttft_ms p50/p99 at half load": f"{calm.ttft_ms(0.5)}/{calm.ttft_ms(0.99)}",
        "at ten times": f"{burst.ttft_ms(0.5)}/{burst.ttft_ms(0.99)}",
        "of that in the frontend's queue, mean": round(1000 * queue_s / max(1.0, placed), 1),
        "refusal_ms p50/p99/max": "/".join(
            str(burst.refusal_ms(share)) for share in (0.5, 0.99, 1.0)
        ),
        "recovered_s": _recovered_s(after, ended_at, usual_s),
        "refused afterwards": len(after.refused),
        "frontend_rss_mib before/highest/after": "/".join(
            f"{mib:.0f}" for mib in (before_mib, peak_rss_mib(pid), rss_mib(pid))
        ),
        "generator_late_ms_max": round(1000 * late.s_max),
    }


def _row(
    name: str,
    how: str,
    lengths: Lengths,
    *,
    workers: int,
    running: int,
    burst_s: float,
    options: tuple[str, ...],
) -> Row:
    async def play(fleet: Fleet, _: Bench, outcome: Outcome) -> None:
        await _overload(fleet, outcome, lengths, places=workers * running, burst_s=burst_s)

    shape = FleetShape(
        workers=workers,
        worker_options=("--max-running-requests", str(running)),
        frontend_options=options,
    )
    return Row(
        name, f"ten times the load the fleet can serve, for {burst_s:g} s; {how}", play, shape
    )


_SHEDS = ("--shed-load",)
_WAITS = ("--request-timeout", f"{WAITING_S:g}")

ROWS = [
    _row(
        "overload",
        "shed; answers of 20 to 100 tokens",
        _mixed,
        workers=3,
        running=16,
        burst_s=15.0,
        options=_SHEDS,
    ),
    _row(
        "overload-equal",
        "shed; answers of equal length",
        _equal,
        workers=3,
        running=16,
        burst_s=15.0,
        options=_SHEDS,
    ),
    # A minute: smaller fleets, since two cores hold no client for more.
    _row(
        "flood",
        "everybody waits; answers of 20 to 100 tokens",
        _mixed,
        workers=2,
        running=8,
        burst_s=60.0,
        options=_WAITS,
    ),
    _row(
        "flood-one",
        "everybody waits for one engine; the same",
        _mixed,
        workers=1,
        running=16,
        burst_s=60.0,
        options=_WAITS,
    ),
    _row(
        "flood-shed", "shed; the same", _mixed, workers=2, running=8, burst_s=60.0, options=_SHEDS
    ),
]
