"""Which cells a run simulates, and running them on several processes."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from multiprocessing import get_context
from typing import Any, Final

from bench.routing.case import Case, simulate
from bench.routing.workloads import WORKLOADS
from frontend.routing.route import Weights
from frontend.routing.router import RouterMode

MODES: Final[tuple[RouterMode, ...]] = (
    "kv",
    "least-loaded",
    "power-of-two",
    "round-robin",
    "random",
)
TWO_FRONTENDS: Final[tuple[RouterMode, ...]] = ("kv", "least-loaded", "round-robin")
"""Those that look at load could herd; round-robin cannot."""

WEIGHTS: Final = {
    "kv": Weights(),
    "kv, all 1": Weights(prefill=1, waiting=1, request=1, tie=0),
    "kv, all 8": Weights(prefill=8, waiting=8, request=8, tie=0),
    "kv, no turns": Weights(tie=0),
    "kv, no requests": Weights(request=0),
    "kv, prefill 16": Weights(prefill=16),
    "kv, tie 256": Weights(tie=256),
}
"""Of the sweep: the defaults, and what they were chosen against."""

SWEEP_SPAN: Final = 0.6
"""Of a workload's time, in the sweep."""

Result = tuple[Case, dict[str, Any]]


def standard(workloads: Iterable[str], sizes: Iterable[int], seed: int) -> list[Case]:
    """Every mode on every workload; long cells first, so that the processes end together."""
    sizes = set(sizes)
    cells: list[Case] = []
    for name in workloads:
        for ranks in WORKLOADS[name].span_s:
            if ranks not in sizes and len(WORKLOADS[name].span_s) > 1:
                continue
            cells += [Case(workload=name, ranks=ranks, mode=mode, seed=seed) for mode in MODES]
            cells += [
                Case(workload=name, ranks=ranks, mode=mode, frontends=2, seed=seed)
                for mode in TWO_FRONTENDS
            ]
    return sorted(cells, key=lambda cell: -cell.ranks)


def weights(workloads: Iterable[str], seed: int) -> list[Case]:
    """The kv mode's weights on the smallest fleet of each workload, beside round-robin; one
    frontend and two.
    """
    cells: list[Case] = []
    for name in workloads:
        workload = WORKLOADS[name]
        ranks = min(workload.span_s)
        span_s = workload.warm_s + (workload.span_s[ranks] - workload.warm_s) * (
            SWEEP_SPAN if workload.warm_s else 1.0
        )
        cell = Case(workload=name, ranks=ranks, span_s=span_s, seed=seed)
        for frontends in (1, 2):
            several = replace(cell, frontends=frontends)
            cells += [
                replace(several, mode="round-robin"),
                *(replace(several, weights=weights) for weights in WEIGHTS.values()),
            ]
    return cells


def run(cells: list[Case], processes: int) -> Iterator[Result]:
    """Simulate, in any order."""
    if processes == 1:
        yield from map(_cell, cells)
        return
    with get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(_cell, cells)


def _cell(case: Case) -> Result:
    return case, simulate(case)
