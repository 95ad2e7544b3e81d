"""Results as lines, as JSON, and held against what the router promises."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from bench.routing.case import Case
from bench.routing.table import WEIGHTS, Result

COLUMNS: Final = {
    "requests": "n",
    "ttft_p50_ms": "ttft50",
    "ttft_p99_ms": "ttft99",
    "tpot_p50_ms": "tpot50",
    "e2e_p50_ms": "e2e50",
    "tokens_per_s": "tok/s",
    "cached_share": "cached",
    "predicted_share": "predict",
    "perfect_share": "perfect",
    "load_spread": "load max",
    "load_min_share": "load min",
    "computed_spread": "comp max",
    "peak_requests": "peak",
    "wall_s": "wall",
}

WORSE_MAX: Final = 1.05
SPREAD_MAX: Final = 2.0
STARVED_SHARE: Final = 0.5
HERD_MAX: Final = 1.2
"""Busiest rank under two frontends that do not know of each other, over the same under one."""

GROUPS_CACHED_MIN: Final = 0.86


def header() -> str:
    """Column names."""
    return f"{'workload':13}{'ranks':>6} {'mode':14}{'fe':>3}" + "".join(
        f"{name:>9}" for name in COLUMNS.values()
    )


def line(case: Case, figures: dict[str, Any]) -> str:
    """One cell; ms, shares of prompt tokens, and spreads as multiples of the mean."""
    return f"{case.workload:13}{case.ranks:>6} {label(case):14}{case.frontends:>3}" + "".join(
        f"{figures[key]:>9}" for key in COLUMNS
    )


def as_json(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Cells with their settings."""
    return [asdict(case) | {"label": label(case)} | figures for case, figures in results]


def misses(results: list[Result]) -> list[str]:
    """What does not hold, a line each: kv against the best other mode, spread, two frontends
    against one, the 16 groups.
    """
    found: list[str] = []
    for name, ranks in sorted({(case.workload, case.ranks) for case, _ in results}):
        here = [
            (label(case), case, figures)
            for case, figures in results
            if (case.workload, case.ranks) == (name, ranks)
        ]
        others = [(case, figures) for _, case, figures in here if case.mode != "kv"]
        for kv in dict.fromkeys(text for text, case, _ in here if case.mode == "kv"):
            ours = [(case, figures) for text, case, figures in here if text == kv]
            cells = {(case.mode, case.frontends): figures for case, figures in ours + others}
            missed = _spread(cells) + _groups(name, cells)
            for frontends in (1, 2):
                rivals = [figures for case, figures in others if case.frontends == frontends]
                missed += [
                    f"{frontends} frontend(s): {miss}"
                    for miss in _against(cells["kv", frontends], rivals)
                ]
            found += [f"{kv:8} {name} x{ranks}: {miss}" for miss in missed]
    return found


def _against(ours: dict[str, Any], others: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for key in ("ttft_p50_ms", "ttft_p99_ms"):
        best = min(figures[key] for figures in others)
        if ours[key] > best * WORSE_MAX:
            found.append(f"{key} {ours[key]} against {best} of the best other mode")
    best = max(figures["tokens_per_s"] for figures in others)
    if ours["tokens_per_s"] < best / WORSE_MAX:
        found.append(f"tokens_per_s {ours['tokens_per_s']} against {best} of the best other mode")
    return found


def _spread(cells: dict[tuple[Any, int], dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for frontends in (1, 2):
        figures = cells.get(("kv", frontends))
        if figures is not None and (
            figures["load_spread"] > SPREAD_MAX or figures["load_min_share"] < STARVED_SHARE
        ):
            found.append(
                f"{frontends} frontend(s): ranks carry {figures['load_min_share']} to "
                f"{figures['load_spread']} of the mean"
            )
    if ("kv", 2) in cells:
        one, two = cells["kv", 1], cells["kv", 2]
        if two["load_spread"] > one["load_spread"] * HERD_MAX:
            found.append(
                f"two frontends: load_spread {two['load_spread']} against "
                f"{one['load_spread']} with one"
            )
    return found


def _groups(name: str, cells: dict[tuple[Any, int], dict[str, Any]]) -> list[str]:
    ours = cells["kv", 1]
    found: list[str] = []
    if name.startswith("groups") and ours["cached_share"] < GROUPS_CACHED_MIN:
        found.append(f"cached share {ours['cached_share']}, not {GROUPS_CACHED_MIN}")
    if name == "groups-small" and ours["ttft_p50_ms"] > cells["round-robin", 1]["ttft_p50_ms"] / 2:
        found.append(
            f"TTFT p50 {ours['ttft_p50_ms']} is above half of round-robin's "
            f"{cells['round-robin', 1]['ttft_p50_ms']}"
        )
    return found


def label(case: Case) -> str:
    """The mode, and the kv mode's weights where they are not the defaults."""
    return (
        case.mode
        if case.mode != "kv"
        else next(name for name, weights in WEIGHTS.items() if weights == case.weights)
    )
