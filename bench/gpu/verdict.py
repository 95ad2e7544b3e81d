"""Medians over rounds, whether kvmesh is as good as its peers, and the table that a person
reads.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.gpu.cases import Case

THROUGHPUT_SHARE_MIN = 0.99
"""Of the best system's tokens a second."""
TTFT_RATIO_MAX = 1.05
"""Of that of SGLang's own server, or of its gateway where there are several GPUs."""
REFERENCES = ("sglang", "gateway")
FRONTEND_CPU_SHARE_MAX = 0.5
"""Of that of Dynamo's frontend, which does the same work."""

Rounds = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]


def median(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of each measure; requests that failed, and why, are summed."""
    found: dict[str, Any] = {
        "rounds": len(rounds),
        "not_ok": sum(one["not_ok"] for one in rounds),
        "why": {},
    }
    for one in rounds:
        for kind, count in one["why"].items():
            found["why"][kind] = found["why"].get(kind, 0) + count
    for key in rounds[0]:
        if key not in found:
            values = [value for one in rounds if (value := one[key]) is not None]
            found[key] = round(statistics.median(values), 4) if values else None
    return found


def medians(rounds: Rounds) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        case: {name: median(taken) for name, taken in systems.items()}
        for case, systems in rounds.items()
    }


def complaints(name: str, systems: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is worse on `name` than it may be, in one case; empty is good."""
    own = systems[name]
    found = [f"{own['not_ok']} not ok {own['why']}"] if own["not_ok"] else []
    best = max(systems, key=lambda other: systems[other]["tokens_per_s"])
    if own["tokens_per_s"] < THROUGHPUT_SHARE_MIN * systems[best]["tokens_per_s"]:
        found.append(
            f"{own['tokens_per_s'] / systems[best]['tokens_per_s']:.1%} of {best}'s tokens/s"
        )
    reference = next((each for each in REFERENCES if each in systems), None)
    if reference is not None:
        for key in ("ttft_p50_ms", "ttft_p99_ms"):
            mine, theirs = own[key], systems[reference][key]
            if mine is not None and theirs is not None and mine > TTFT_RATIO_MAX * theirs:
                found.append(f"{key[:-3]} {mine / theirs:.2f} x {reference}'s")
    dynamo = systems.get("dynamo")
    if dynamo and own["frontend_cpu_s"] > FRONTEND_CPU_SHARE_MAX * dynamo["frontend_cpu_s"]:
        found.append(
            f"{own['frontend_cpu_s'] / dynamo['frontend_cpu_s']:.0%} of dynamo's frontend's CPU"
        )
    return found


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _line(
    case: Case, name: str, found: Mapping[str, Any], systems: Mapping[str, Mapping[str, Any]]
) -> str:
    cells = [
        case.title,
        name,
        f"{found['not_ok']} {found['why'] or ''}".strip(),
        f"{found['tokens_per_s']:,.0f}",
    ]
    cells += [
        f"{_ms(found[f'{key}_p50_ms'])} / {_ms(found[f'{key}_p99_ms'])}" for key in ("ttft", "gap")
    ]
    cells += [
        _ms(found["e2e_p50_ms"]),
        f"{found['frontend_cpu_s']:.2f} / {found['cpu_without_schedulers_s']:.2f}",
    ]
    cells.append(f"{found['cached_share']:.2f}" if case.groups else "")
    cells.append(
        ("; ".join(complaints(name, systems)) or "good") if name.startswith("kvmesh") else ""
    )
    return "| " + " | ".join(cells) + " |"


def table(cases: Sequence[Case], found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Markdown, one line for each case and system."""
    heads = [
        "together x in/out",
        "system",
        "not ok",
        "tokens/s",
        "TTFT p50 / p99 ms",
        "gap p50 / p99 ms",
        "e2e p50 ms",
    ]
    heads += ["CPU s: HTTP process / all but schedulers", "cached", "verdict"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for case in cases:
        systems = found.get(case.name, {})
        lines += [_line(case, name, systems[name], systems) for name in sorted(systems)]
    return "\n".join(lines)
