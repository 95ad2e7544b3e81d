"""Open-loop load: requests arrive when they arrive, whatever became of those before them."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

ANSWER_S_MAX = 60.0
"""Waited for stragglers after the last arrival."""


@dataclass
class Lateness:
    """How far the generator itself fell behind; arrivals that start late are no open loop any
    more.
    """

    s_max: float = 0.0


async def poisson(
    rate_per_s: float, duration_s: float, rng: random.Random, lateness: Lateness
) -> AsyncIterator[int]:
    """Numbers, each at its time."""
    due = began = time.monotonic()
    number = 0
    while (due := due + rng.expovariate(rate_per_s)) < began + duration_s:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        lateness.s_max = max(lateness.s_max, time.monotonic() - due)
        yield number
        number += 1


async def offer(
    rate_per_s: float,
    duration_s: float,
    rng: random.Random,
    lateness: Lateness,
    request: Callable[[int], Awaitable[None]],
) -> None:
    """Run `request(number)` at each arrival, and wait until all have ended."""
    running: set[asyncio.Task[None]] = set()
    async for number in poisson(rate_per_s, duration_s, rng, lateness):
        task = asyncio.ensure_future(_awaited(request(number)))
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.wait(set(running), timeout=ANSWER_S_MAX)


async def _awaited(work: Awaitable[None]) -> None:
    await work
