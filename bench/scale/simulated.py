"""A thousand ranks on the virtual clock: what routing costs and what clients wait, beside fewer.

As bench.routing, for a shorter time, since every rank's engine is stepped; users chat, so that the
index follows what they said before.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from random import Random
from typing import Any, Final

import numpy as np

from bench.kit.usage import rss_mib
from bench.routing.fleet import Fleet
from bench.routing.frontend_side import Placed
from bench.routing.workloads import WORKLOADS
from frontend.routing.policies.modes import policy_of
from frontend.routing.route import Weights
from frontend.routing.router import Lifetimes, RouterMode
from protocol.generation import Generate

COUNTS: Final = {8: (2.0, 5.0), 64: (2.0, 5.0), 256: (2.0, 5.0), 1_000: (1.0, 2.5)}
"""Holds for each number of ranks the seconds that are not measured, and all."""
MODES: Final[tuple[RouterMode, ...]] = ("kv", "round-robin")
WORKLOAD: Final = "chat"
USERS_PER_RANK: Final = 20
"""A sixth of the workload's own, so that a thousand ranks are done in minutes."""


class Timed:
    """A frontend's choice that notes what it takes."""

    def __init__(self, place: Callable[[Generate, float], Placed]) -> None:
        self._place = place
        self.count = 0
        self.cpu_s = 0.0

    def __call__(self, request: Generate, now: float) -> Placed:
        begun_s = time.process_time()
        placed = self._place(request, now)
        self.cpu_s += time.process_time() - begun_s
        self.count += 1
        return placed


def curve() -> list[dict[str, Any]]:
    """A point for each count and mode, in a process of its own, whose memory nobody used before."""
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return list(pool.imap(_point, product(COUNTS, MODES)))


def _point(case: tuple[int, RouterMode]) -> dict[str, Any]:
    count, mode = case
    warm_s, span_s = COUNTS[count]
    begun_at, before_mib = time.monotonic(), rss_mib(os.getpid())
    workload = replace(WORKLOADS[WORKLOAD], span_s={count: span_s}, warm_s=warm_s)
    fleet = Fleet(
        workload,
        count,
        mode,
        [policy_of(mode, Weights(), Random(1))],
        Lifetimes(predicted_s=10.0, assumed_s=120.0, session_s=300.0),
        seed=1,
    )
    [frontend] = fleet.frontends
    timed = frontend.place = Timed(frontend.place)
    fleet.run(USERS_PER_RANK, 1)
    measured = [asked for asked in fleet.done if asked.arrived_at >= warm_s]
    ttft_ms = 1e3 * np.array([asked.first_at - asked.arrived_at for asked in measured])
    loads = np.array(fleet.loads)
    told = {
        "ranks": count,
        "mode": mode,
        "requests": len(measured),
        "requests_per_s": round(len(fleet.done) / span_s),
        "route_us": round(1e6 * timed.cpu_s / timed.count, 1),
        "ttft_p50_ms": round(float(np.percentile(ttft_ms, 50)), 1),
        "ttft_p99_ms": round(float(np.percentile(ttft_ms, 99)), 1),
        "cached_share": round(
            sum(asked.cached for asked in measured)
            / sum(asked.prompt_tokens for asked in measured),
            4,
        ),
        "load_spread": round(float(loads.max() / loads.mean()), 3),
        "blocks": sum(len(rank.blocks) for rank in frontend.ranks),
        "simulation_mib": round(rss_mib(os.getpid()) - before_mib),
        "wall_s": round(time.monotonic() - begun_at, 1),
    }
    print(told, flush=True)
    return told
