"""Signals, deaths and limits: when a worker leaves, what it waits for, and with which exit code."""

import asyncio
import os
import signal

import pytest

from workers.process.departure import EXIT_ENGINE_DIED, Departure, DrainLimits


def _departure(timeout_s: float = 100.0, grace_s: float = 0.0) -> Departure:
    return Departure(DrainLimits(timeout_s=timeout_s, grace_s=grace_s))


async def test_an_idle_worker_leaves_at_once() -> None:
    departure = _departure()
    departure.note_signal(signal.SIGTERM)
    await departure.asked()
    await departure.grace_over()
    await departure.drained(lambda: 0)
    assert (departure.hasty, departure.exit_code) == (False, 0)


async def test_what_runs_is_waited_for() -> None:
    departure, running = _departure(), [2]
    departure.note_signal(signal.SIGTERM)
    draining = asyncio.ensure_future(departure.drained(lambda: running[0]))
    await asyncio.sleep(0)
    running[0] = 1
    departure.note_idle()  # told too early: it looks for itself
    await asyncio.sleep(0)
    assert not draining.done()
    running[0] = 0
    departure.note_idle()
    await draining
    assert departure.exit_code == 0


async def test_past_the_limit_it_leaves_anyway() -> None:
    departure = _departure(timeout_s=0.01)
    departure.note_signal(signal.SIGINT)
    await departure.drained(lambda: 3)
    assert (departure.hasty, departure.exit_code) == (False, 0)


async def test_the_grace_period_is_waited_out_even_when_idle() -> None:
    departure = _departure(grace_s=0.05)
    departure.note_signal(signal.SIGTERM)
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    departure.note_idle()
    await departure.grace_over()
    assert loop.time() - begun_at >= 0.05


@pytest.mark.parametrize("wait", ["grace_over", "drained"])
async def test_a_second_signal_leaves_no_time(wait: str) -> None:
    departure = _departure(grace_s=100.0)
    departure.note_signal(signal.SIGINT)
    waiting = asyncio.ensure_future(
        departure.grace_over() if wait == "grace_over" else departure.drained(lambda: 1)
    )
    await asyncio.sleep(0)
    departure.note_signal(signal.SIGTERM)
    await waiting
    await departure.hurried()
    assert (departure.hasty, departure.exit_code) == (True, 128 + signal.SIGTERM)


async def test_a_dead_engine_ends_every_wait() -> None:
    departure = _departure(grace_s=100.0)
    asked = asyncio.ensure_future(departure.asked())
    await asyncio.sleep(0)
    departure.note_death("killed by signal 9")
    await asked
    await departure.grace_over()
    await departure.drained(lambda: 5)
    assert (departure.death, departure.exit_code) == ("killed by signal 9", EXIT_ENGINE_DIED)


async def test_an_engine_that_dies_while_it_is_killed_has_not_died() -> None:
    departure = _departure()
    departure.note_signal(signal.SIGTERM)
    departure.note_signal(signal.SIGTERM)
    departure.note_death("killed by signal 9")
    assert (departure.death, departure.exit_code) == ("", 128 + signal.SIGTERM)


async def test_real_signals_are_heard_and_the_third_is_the_kernels() -> None:
    departure, loop = _departure(), asyncio.get_running_loop()
    departure.listen(loop)
    os.kill(os.getpid(), signal.SIGTERM)
    await departure.asked()
    assert not departure.urgent
    os.kill(os.getpid(), signal.SIGINT)
    await departure.hurried()
    assert departure.exit_code == 128 + signal.SIGINT
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
