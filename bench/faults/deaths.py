"""Rows: workers that die, hang or cannot be reached."""

import asyncio
import signal
import time
from contextlib import ExitStack
from itertools import pairwise

from bench.faults.fleet import Fleet, FleetShape
from bench.faults.proxy import TcpProxy
from bench.faults.row import Bench, Outcome, Row, in_flight, pinned, signalled

CRASH, HANG_LOOP, ENGINE_DEATH = 770_002, 770_004, 770_005
"""Seeds with which a request asks for a fault (workers/sim/faults.py)."""

FAULTY = FleetShape(worker_options=("--sim-request-faults",))
STOPPED_S = 4.0
"""How long a stopped worker or a partition stays so: longer than anything waits for it."""


async def _nothing(fleet: Fleet, bench: Bench, outcome: Outcome) -> None:
    crowd = await in_flight(fleet, bench)
    at = time.monotonic()
    await crowd.end()
    if not bench.texts:
        crowd.learn_texts()
    outcome.take(crowd, at)


async def _stopped_and_woken(fleet: Fleet, bench: Bench, outcome: Outcome) -> None:
    crowd = await in_flight(fleet, bench)
    fault_at, fault_unix_s = time.monotonic(), fleet.signal_worker(1, signal.SIGSTOP)
    await asyncio.sleep(STOPPED_S)
    woken_unix_s = fleet.signal_worker(1, signal.SIGCONT)
    await crowd.end()
    await _back(fleet, outcome, woken_unix_s)
    outcome.take(crowd, fault_at)
    outcome.take_notice(fleet.frontends[0], "w1", fault_unix_s)


async def _back(fleet: Fleet, outcome: Outcome, since_unix_s: float) -> None:
    """The worker takes requests again."""
    await asyncio.to_thread(fleet.wait_for_workers, fleet.shape.workers)
    outcome.more["back_s"] = round(time.time() - since_unix_s, 2)


def _asked_for(seed: int, *, exits: bool) -> Row:
    names = {
        HANG_LOOP: ("hung-loop", "the event loop of a worker hangs"),
        ENGINE_DEATH: ("engine-death", "the engine of a worker dies"),
    }

    async def play(fleet: Fleet, bench: Bench, outcome: Outcome) -> None:
        crowd = await in_flight(fleet, bench)
        fault_at, fault_unix_s = time.monotonic(), time.time()
        trigger = asyncio.ensure_future(pinned(fleet, "w1", seed=seed))
        await crowd.end()
        outcome.take(crowd, fault_at)
        outcome.take_notice(fleet.frontends[0], "w1", fault_unix_s)
        outcome.more["the_request_that_asked_for_it"] = (await trigger).error
        if exits:
            outcome.more["exit_code"] = await asyncio.to_thread(fleet.exit_code, 1)

    return Row(*names[seed], play, FAULTY)


async def _frozen(fleet: Fleet, bench: Bench, outcome: Outcome) -> None:
    """The engine of w1 takes no step after the tokens that its options say.

    When that is, its streams tell.
    """
    crowd = bench.crowd()
    await crowd.begin(fleet.ports)
    began_at, began_unix_s = time.monotonic(), time.time()
    await crowd.end()
    frozen_at = min(
        (
            answer.arrivals[i]
            for answer in crowd.answers
            for i, gap in enumerate(_gaps(answer.arrivals))
            if gap > FROZEN_GAP_S
        ),
        default=began_at,
    )
    outcome.take(crowd, frozen_at)
    outcome.take_notice(fleet.frontends[0], "w1", began_unix_s + frozen_at - began_at)


FROZEN_GAP_S = 0.7
"""No stream of a healthy worker stands still for so long here."""


def _gaps(arrivals: list[float]) -> list[float]:
    return [b - a for a, b in pairwise(arrivals)]


def _through_a_proxy(fleet: Fleet, stack: ExitStack) -> None:
    fleet.proxies[1] = stack.enter_context(TcpProxy(fleet.frontends[0].mesh))


def _unreachable(*, heals: bool) -> Row:
    async def play(fleet: Fleet, bench: Bench, outcome: Outcome) -> None:
        crowd = await in_flight(fleet, bench)
        fault_at, fault_unix_s = time.monotonic(), time.time()
        fleet.proxies[1].stop_forwarding()
        if heals:
            await asyncio.sleep(STOPPED_S)
            healed_unix_s = time.time()
            fleet.proxies[1].forward_again()
            await _back(fleet, outcome, healed_unix_s)
        await crowd.end()
        outcome.take(crowd, fault_at)
        outcome.take_notice(fleet.frontends[0], "w1", fault_unix_s)

    name, fault = (
        ("partition", "no byte passes for 4 s, then all of them")
        if heals
        else ("half-open", "half-open TCP: no byte passes any more")
    )
    return Row(name, fault, play, prepare=_through_a_proxy)


async def _two_in_a_row(fleet: Fleet, bench: Bench, outcome: Outcome) -> None:
    crowd = await in_flight(fleet, bench)
    fault_at, fault_unix_s = time.monotonic(), fleet.signal_worker(1, signal.SIGKILL)
    await asyncio.sleep(1.0)
    fleet.signal_worker(2, signal.SIGKILL)
    await crowd.end()
    outcome.take(crowd, fault_at)
    outcome.take_notice(fleet.frontends[0], "w1", fault_unix_s)


ROWS = [
    Row("nothing", "none", _nothing),
    Row("sigkill", "a worker is killed (SIGKILL)", signalled(1, signal.SIGKILL)),
    Row("two-deaths", "two of four workers are killed, one after the other", _two_in_a_row),
    Row(
        "sigstop",
        f"a worker is stopped (SIGSTOP), and woken after {STOPPED_S:g} s",
        _stopped_and_woken,
    ),
    _asked_for(HANG_LOOP, exits=False),
    Row(
        "frozen",
        "an engine freezes in mid-stream",
        _frozen,
        FleetShape(options_of={1: ("--sim-fault", "hang-after-tokens=4000")}),
    ),
    _asked_for(ENGINE_DEATH, exits=True),
    _unreachable(heals=False),
    _unreachable(heals=True),
]
