"""Rows: clients that ask for poison, leave at every stage, or do not read."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.faults.client import Call, ask, ask_and_not_read, call
from bench.faults.crowd import Crowd, body_of
from bench.faults.deaths import CRASH, FAULTY
from bench.faults.fleet import Fleet, FleetShape, Frontend
from bench.faults.row import Bench, Outcome, Row, in_flight
from bench.kit.usage import peak_rss_mib, reset_peak_rss, rss_mib

LEAVING_TURNS = 10
HOG_TOKENS = 20_000
"""Of the request whose client leaves: two minutes, if nobody stopped it."""

SLOW_TOKENS = 3_000
"""Of the streams beside a slow reader: it is cut off after 10 to 20 s, and they are to see all of
it.
"""


async def _poison(fleet: Fleet, bench: Bench, outcome: Outcome) -> None:
    crowd = await in_flight(fleet, bench)
    frontend = fleet.frontends[0]
    fault_at, fault_unix_s = time.monotonic(), time.time()
    poison = body_of(990_000, max_tokens=50, seed=CRASH)
    answer = await ask(fleet.ports[0], poison)
    answered_s = time.monotonic() - fault_at
    twin_at = time.monotonic()
    twin = await ask(fleet.ports[0], poison | {"seed": None, "max_tokens": 60})
    twin_s = time.monotonic() - twin_at
    await crowd.end()
    outcome.take(crowd, fault_at)
    died = frontend.metric("kvmesh_frontend_workers_lost_total", cause="died")
    outcome.seen += (
        f"; poison: {answer.status} {answer.error}; its twin: {twin.status} {twin.error}"
    )
    said = frontend.said("is refused from here on", fault_unix_s)
    if said is not None:
        outcome.notice_s, outcome.notice = (
            round(said[0], 3),
            "log: the poison is refused from here on",
        )
    outcome.more |= {
        "workers_died": int(died),
        "poison_answered_s": round(answered_s, 2),
        "twin_refused_ms": round(1000 * twin_s, 1),
    }


async def _begun(fleet: Fleet, **more: Any) -> Call:
    """A request that runs and would go on for minutes."""
    asked = await call(fleet.ports[0], body_of(1, max_tokens=HOG_TOKENS, **more))
    await asked.first
    return asked


async def _unary(fleet: Fleet) -> Call:
    asked = await call(
        fleet.ports[0],
        body_of(1, max_tokens=HOG_TOKENS) | {"stream": False, "stream_options": None},
    )
    await asyncio.sleep(0.3)
    return asked


async def _computing(fleet: Fleet) -> Call:
    """In the midst of a prefill step of 85 ms, which an engine does not interrupt."""
    asked = await call(
        fleet.ports[0],
        body_of(int(time.time() * 1e6), max_tokens=HOG_TOKENS) | {"prompt": _fresh_prompt(4_000)},
    )
    await asyncio.sleep(0.02)
    return asked


def _fresh_prompt(tokens: int) -> list[int]:
    begin = int(time.monotonic() * 1e6)
    return [10 + (begin + 7 * index * index) % 1900 for index in range(tokens)]


STAGES: dict[str, Callable[[Fleet], Awaitable[Call]]] = {
    "streaming": _begun,
    "unary": _unary,
    "n=2": lambda fleet: _begun(fleet, n=2),
    "before the first token": _computing,
}


async def _leaving(fleet: Fleet, _bench: Bench, outcome: Outcome) -> None:
    """The engine runs one request at a time.

    How soon it is free shows in the first token of the next one.
    """
    next_body = body_of(2, max_tokens=1)
    port, frontend = fleet.ports[0], fleet.frontends[0]
    idle = [(await ask(port, next_body)).ttft_s for _ in range(LEAVING_TURNS)]
    found: dict[str, list[float]] = {"idle engine": idle}
    for stage, begin in STAGES.items():
        for _ in range(LEAVING_TURNS):
            hog = await begin(fleet)
            behind = await call(port, next_body)
            waiting = 2 if stage == "n=2" else 1  # one of its choices waits for the other
            await _until(
                lambda waiting=waiting: (
                    frontend.metric("kvmesh_frontend_queued_requests") >= waiting
                )
            )
            left_at = time.monotonic()
            hog.leave()
            answer = await behind.ended
            outcome.requests += 1
            outcome.finished += not answer.error
            found.setdefault(stage, []).append(answer.arrivals[0] - left_at)
    hog = await _begun(fleet)
    for _ in range(LEAVING_TURNS):
        behind = await call(port, next_body)
        await _until(lambda: frontend.metric("kvmesh_frontend_queued_requests") == 1)
        left_at = time.monotonic()
        behind.leave()
        await _until(lambda: frontend.metric("kvmesh_frontend_queued_requests") == 0)
        found.setdefault("queued (its place is gone)", []).append(time.monotonic() - left_at)
    hog.leave()
    outcome.lost = outcome.requests - outcome.finished
    outcome.seen = f"they left; {outcome.finished} of {outcome.requests} requests behind them ran"
    for stage, seconds in found.items():
        outcome.more[f"{stage}, ms p50/max"] = (
            f"{1000 * statistics.median(seconds):.1f}/{1000 * max(seconds):.1f}"
        )
    outcome.notice = (
        "first token of the request behind the one whose client left, on an engine that runs one"
    )
    outcome.notice_s = round(max(found["streaming"]), 3)


async def _until(condition: Callable[[], bool], wait_s_max: float = 10.0) -> None:
    end = time.monotonic() + wait_s_max
    while not await asyncio.to_thread(condition):
        if time.monotonic() > end:
            raise RuntimeError("it did not come to that")


async def _slow_reader(fleet: Fleet, bench: Bench, outcome: Outcome) -> None:
    """The same hundred streams twice: alone, and beside a client that reads nothing of eight long
    choices.
    """
    texts: dict[int, str] = {}
    alone = Crowd(bench.streams, max_tokens=SLOW_TOKENS, texts=texts)
    await alone.begin(fleet.ports)
    await alone.end()
    alone.learn_texts()
    frontend = fleet.frontends[0]
    assert frontend.process is not None
    pid = frontend.process.pid
    before_mib = rss_mib(pid)
    reset_peak_rss(pid)
    crowd = Crowd(bench.streams, max_tokens=SLOW_TOKENS, texts=texts)
    await crowd.begin(fleet.ports)
    fault_at = time.monotonic()
    with ask_and_not_read(fleet.ports[0], body_of(980_000, max_tokens=HOG_TOKENS, n=8)):
        cut_s = await _cut_off(frontend, fault_at)
        await crowd.end()
    outcome.take(crowd, fault_at)
    beside, without = crowd.gaps(since=fault_at), alone.gaps()
    outcome.seen += (
        "; the slow reader was cut off" if cut_s else "; the slow reader was NOT cut off"
    )
    outcome.notice_s, outcome.notice = (
        cut_s and round(cut_s, 1),
        "cut off (kvmesh_frontend_slow_readers_total)",
    )
    outcome.more |= {
        "gap_p99_ms, beside it / alone": f"{beside.p99} / {without.p99}",
        "gap_p50_ms": f"{beside.p50} / {without.p50}",
        "frontend_rss_mib, before / highest": f"{before_mib:.0f} / {peak_rss_mib(pid):.0f}",
    }


async def _cut_off(frontend: Frontend, since: float) -> float | None:
    while time.monotonic() - since < 40:
        if await asyncio.to_thread(frontend.metric, "kvmesh_frontend_slow_readers_total"):
            return time.monotonic() - since
        await asyncio.sleep(0.2)
    return None


ROWS = [
    Row("poison", "a request that kills its worker", _poison, FAULTY),
    Row(
        "leaving",
        "clients leave at every stage",
        _leaving,
        FleetShape(
            workers=1, worker_options=("--max-running-requests", "1", "--disable-radix-cache")
        ),
    ),
    Row("slow-reader", "a client does not read", _slow_reader),
]
