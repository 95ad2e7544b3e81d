"""Rows: workers and frontends that leave, in order or not, and fleets that are restarted under
load.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from bench.faults.client import Answer, ask_any
from bench.faults.crowd import body_of
from bench.faults.fleet import Fleet, FleetShape
from bench.faults.row import Bench, Outcome, Play, Row, in_flight, signalled

STREAM_TOKENS = 150
"""Of the short streams that come all the time during a rolling restart: about a second each."""

CLIENTS = 100


async def _frontend_killed(fleet: Fleet, bench: Bench, outcome: Outcome) -> None:
    """Its streams are cut, their clients ask again at the other one; the workers must stop what
    nobody reads any more.
    """
    staying = bench.crowd(20, offset=bench.streams)
    await staying.begin(fleet.ports[1:])
    crowd = await in_flight(fleet, bench)
    first, second = fleet.frontends
    assert first.process is not None
    fault_at = time.monotonic()
    os.kill(first.process.pid, signal.SIGKILL)
    running = 0
    while time.monotonic() - fault_at < 10:
        running = await asyncio.to_thread(
            lambda: sum(sum(worker["requests"]) for worker in second.health()["workers"])
        )
        if running <= 20:
            break
        await asyncio.sleep(0.05)
    outcome.notice_s, outcome.notice = (
        round(time.monotonic() - fault_at, 2),
        "the workers run none of its requests any more",
    )
    await crowd.end()
    await staying.end()
    cut = crowd.errors()
    again = await asyncio.gather(
        *(
            ask_any(fleet.ports, body_of(n, max_tokens=bench.max_tokens), first=0)
            for n in range(bench.streams)
        )
    )
    equal = sum(answer.texts.get(0) == bench.texts[number] for number, answer in enumerate(again))
    outcome.requests, outcome.texts_equal = bench.streams, equal
    outcome.finished = sum(not answer.error for answer in again)
    outcome.lost = outcome.requests - outcome.finished
    outcome.seen = (
        f"{cut} at the killed one; asked again at the other: {outcome.finished} whole answers"
    )
    outcome.more |= {"streams_of_the_other_frontend_finished": f"{staying.finished()} of 20"}


async def _traffic(fleet: Fleet, stop: asyncio.Event, answers: list[tuple[int, Answer]]) -> None:
    """Clients that ask one stream after the other, at any frontend that takes it."""

    async def client(number: int) -> None:
        turn = 0
        await asyncio.sleep(number * 0.01)
        while not stop.is_set():
            request = number * 1_000 + turn
            answers.append(
                (
                    request,
                    await ask_any(
                        fleet.ports, body_of(request, max_tokens=STREAM_TOKENS), first=number
                    ),
                )
            )
            turn += 1

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))


def _sum_up(outcome: Outcome, answers: list[tuple[int, Answer]], began_at: float) -> None:
    errors = Counter(answer.error for _, answer in answers if answer.error)
    gaps = [gap for _, answer in answers for gap in answer.gaps_s(since=began_at)]
    outcome.requests = len(answers)
    outcome.finished = sum(
        not answer.error and answer.completion_tokens == STREAM_TOKENS for _, answer in answers
    )
    outcome.lost = outcome.requests - outcome.finished
    outcome.errors = dict(errors)
    outcome.gap_max_ms = round(1000 * max(gaps, default=0.0), 1)
    outcome.seen = f"{outcome.finished} whole answers" + (f", {outcome.errors}" if errors else "")
    outcome.more["asked_elsewhere_for"] = dict(
        Counter(why for _, answer in answers for why in answer.refusals)
    )


async def _check_texts(fleet: Fleet, outcome: Outcome, answers: list[tuple[int, Answer]]) -> None:
    """Ask everything once more, undisturbed."""
    for at in range(0, len(answers), CLIENTS):
        part = answers[at : at + CLIENTS]
        again = await asyncio.gather(
            *(
                ask_any(fleet.ports, body_of(request, max_tokens=STREAM_TOKENS))
                for request, _ in part
            )
        )
        outcome.texts_equal += sum(
            one.texts == two.texts for (_, one), two in zip(part, again, strict=True)
        )


def _rolling(restart: Callable[[Fleet], Awaitable[list[int | None]]]) -> Play:
    """A play in which all of a kind are restarted one after the other, while a hundred clients
    ask.
    """

    async def play(fleet: Fleet, _: Bench, outcome: Outcome) -> None:
        answers: list[tuple[int, Answer]] = []
        stop = asyncio.Event()
        traffic = asyncio.ensure_future(_traffic(fleet, stop, answers))
        await asyncio.sleep(2)
        began_at = time.monotonic()
        codes = await restart(fleet)
        outcome.more |= {"restart_s": round(time.monotonic() - began_at, 1), "exit_codes": codes}
        stop.set()
        await traffic
        _sum_up(outcome, answers, began_at)
        await _check_texts(fleet, outcome, answers)

    return play


async def _workers(fleet: Fleet) -> list[int | None]:
    codes: list[int | None] = []
    for number in range(fleet.shape.workers):
        fleet.signal_worker(number, signal.SIGTERM)
        codes.append(await asyncio.to_thread(fleet.exit_code, number))
        fleet.restart_worker(number)
        await asyncio.to_thread(fleet.wait_for_workers, fleet.shape.workers)
    return codes


async def _frontends(fleet: Fleet) -> list[int | None]:
    codes: list[int | None] = []
    for frontend in fleet.frontends:
        assert frontend.process is not None
        popen = frontend.process.popen
        popen.send_signal(signal.SIGTERM)
        codes.append(await asyncio.to_thread(popen.wait, 60))
        fleet.start_frontend(frontend)
        await asyncio.to_thread(fleet.wait_for_workers, fleet.shape.workers, [frontend])
    return codes


_SHORT_DRAIN = FleetShape(worker_options=("--graceful-shutdown-timeout-secs", "1"))
_TWO_FRONTENDS = FleetShape(frontends=2)

ROWS = [
    Row(
        "drain",
        "a worker is told to stop (SIGTERM), with time for its streams",
        signalled(1, signal.SIGTERM),
    ),
    Row(
        "drain-deadline",
        "a worker is told to stop, with 1 s for streams of 4 s",
        signalled(1, signal.SIGTERM),
        _SHORT_DRAIN,
    ),
    Row("rolling-workers", "every worker is restarted, one after the other", _rolling(_workers)),
    Row(
        "rolling-frontends",
        "each of two frontends is restarted",
        _rolling(_frontends),
        _TWO_FRONTENDS,
    ),
    Row(
        "frontend-sigkill",
        "one of two frontends is killed (SIGKILL)",
        _frontend_killed,
        _TWO_FRONTENDS,
    ),
]
