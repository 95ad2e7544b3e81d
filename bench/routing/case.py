"""One cell of the table: a workload on a fleet under a mode, simulated and measured."""

import time
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

import numpy as np

from bench.routing.fleet import Asked, Fleet
from bench.routing.workloads import WORKLOADS
from frontend.routing.policies.modes import policy_of
from frontend.routing.route import Weights
from frontend.routing.router import Lifetimes, RouterMode

DEFAULTS: Final = Weights()


@dataclass(frozen=True, kw_only=True)
class Case:
    """`rate` None: the workload's own. `weights`: of the kv mode. `held`: see FrontendSide."""

    workload: str
    ranks: int
    mode: RouterMode = "kv"
    frontends: int = 1
    weights: Weights = DEFAULTS
    predicted_s: float = 10.0
    report_s: float = 0.25
    event_delay_s: float = 0.002
    rate: float | None = None
    span_s: float | None = None
    seed: int = 1
    held: bool = True


def simulate(case: Case) -> dict[str, Any]:
    """Runs a case; ms, tokens/s and shares."""
    begun = time.perf_counter()
    workload = WORKLOADS[case.workload]
    if case.span_s is not None:
        workload = replace(workload, span_s={case.ranks: case.span_s})
    lifetimes = Lifetimes(predicted_s=case.predicted_s, assumed_s=120.0, session_s=300.0)
    randoms = [Random(case.seed * 100 + index) for index in range(case.frontends)]
    policies = [policy_of(case.mode, case.weights, random) for random in randoms]
    fleet = Fleet(
        workload,
        case.ranks,
        case.mode,
        policies,
        lifetimes,
        seed=case.seed,
        event_delay_s=case.event_delay_s,
        report_s=case.report_s,
        held=case.held,
    )
    fleet.run(workload.rate if case.rate is None else case.rate, case.seed)
    measured = [asked for asked in fleet.done if workload.warm_s <= asked.arrived_at]
    figures = _figures(measured) | {
        "tokens_per_s": _throughput(fleet.done, workload.warm_s, workload.span_s[case.ranks])
    }
    return (
        figures
        | _spread(fleet, measured, case.ranks)
        | {"wall_s": round(time.perf_counter() - begun, 2)}
    )


def _throughput(done: list[Asked], begin_s: float, end_s: float) -> float:
    """Output tokens a second within a time, taking each request's tokens as evenly spread from its
    first to its last.
    """
    total = 0.0
    for asked in done:
        inside = min(asked.ended_at, end_s) - max(asked.first_at, begin_s)
        if inside > 0:
            total += asked.output_tokens * inside / (asked.ended_at - asked.first_at)
    return round(total / (end_s - begin_s), 1)


def _figures(measured: list[Asked]) -> dict[str, Any]:
    ttft = np.array([asked.first_at - asked.arrived_at for asked in measured]) * 1e3
    e2e = np.array([asked.ended_at - asked.arrived_at for asked in measured]) * 1e3
    tpot = (
        np.array(
            [
                (a.ended_at - a.first_at) / (a.output_tokens - 1)
                for a in measured
                if a.output_tokens > 1
            ]
        )
        * 1e3
    )
    prompt = sum(asked.prompt_tokens for asked in measured)
    return {
        "requests": len(measured),
        "ttft_p50_ms": round(float(np.percentile(ttft, 50)), 1),
        "ttft_p99_ms": round(float(np.percentile(ttft, 99)), 1),
        "ttft_mean_ms": round(float(ttft.mean()), 1),
        "tpot_p50_ms": round(float(np.percentile(tpot, 50)), 2),
        "e2e_p50_ms": round(float(np.percentile(e2e, 50)), 1),
        "e2e_mean_ms": round(float(e2e.mean()), 1),
        "cached_share": round(sum(asked.cached for asked in measured) / prompt, 4),
        "predicted_share": round(sum(asked.predicted for asked in measured) / prompt, 4),
        "perfect_share": round(sum(asked.perfect for asked in measured) / prompt, 4),
    }


def _spread(fleet: Fleet, measured: list[Asked], ranks: int) -> dict[str, Any]:
    """Of load over ranks: 1.0 is even."""
    loads, busy = np.array(fleet.loads), np.array(fleet.busy)
    computed, requests = np.zeros(ranks), np.zeros(ranks)
    for asked in measured:
        computed[asked.rank] += asked.prompt_tokens - asked.cached
        requests[asked.rank] += 1
    return {
        "load_mean": round(float(loads.mean()), 2),
        "load_spread": round(float(loads.max() / loads.mean()), 3),
        "computed_spread": round(float(computed.max() / computed.mean()), 3),
        "requests_min_share": round(float(requests.min() / requests.mean()), 3),
        "load_min_share": round(float(loads.min() / loads.mean()), 3),
        "busy_mean": round(float(busy.mean()), 3),
        "busy_max": round(float(busy.max()), 3),
        "peak_requests": max(engine.unfinished_max for engine in fleet.engines),
        "retractions": sum(engine.scheduler.retractions for engine in fleet.engines),
        "feed_drops": sum(frontend.counts.drops for frontend in fleet.frontends),
        "cut_off": fleet.cut_off,
    }
