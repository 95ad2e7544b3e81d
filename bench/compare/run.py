"""`python -m bench.compare.run --table standard|quick|paced --peers none|dynamo,gateway,asgi,bare
--rounds 3`

Starts kvmesh and its peers side by side, gives them the same load in turns (row by row, round by
round, the first one changing), and writes medians and every round to bench/results/<name>.json,
with a plot beside it.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.compare.systems import SYSTEMS, EngineSpec, machine, peers_named
from bench.compare.tables import TABLES, Row
from bench.kit import usage
from bench.kit.load import LoadFailed, run_load
from bench.kit.running import Running, Starting
from bench.kit.workloads import LOCAL, Corpus, ensure_model_dir, write_bodies
from starter.process import REPO

WARM_UP_REQUESTS_PER_STREAM = 3
SETTLE_S = 1.0
"""After starting; the systems' own background work (index sync, first heartbeats) is over by
then.
"""
LOADGEN_BUSY = 0.85
"""Share of a core above which the load generator may be what was measured."""


def measure(running: Running, row: Row, bodies: Path) -> dict[str, float | None]:
    """One run of `row` against a started system; CPU is per process under test, over the run
    alone.
    """
    before = [usage.cpu_s(pid) for pid in running.leaders]
    result = run_load(
        running.port,
        bodies,
        concurrency=row.concurrency,
        requests=row.requests,
        duration_s=row.duration_s,
    )
    after = [usage.cpu_s(pid) for pid in running.leaders]
    frontend_s, behind_s = after[0] - before[0], sum(after[1:]) - sum(before[1:])
    requests, tokens = max(1, result["ok"]), max(1, result["tokens"])
    measures: dict[str, float | None] = {
        "req_per_s": result["req_per_s"],
        "tokens_per_s": result["tokens_per_s"],
        "frontend_cpu_ms_per_req": frontend_s * 1e3 / requests,
        "frontend_cpu_us_per_token": frontend_s * 1e6 / tokens,
        "behind_cpu_ms_per_req": behind_s * 1e3 / requests,
        "behind_cpu_us_per_token": behind_s * 1e6 / tokens,
        "frontend_cores": frontend_s / result["wall_s"],
        "behind_cores": behind_s / result["wall_s"],
        "loadgen_cores": result["loadgen_cpu_s"] / result["wall_s"],
        "tokens_per_event": tokens / max(1, result["content_events"]) if row.shape.stream else None,
        "prompt_tokens": result["prompt_tokens"] / requests,
        "cached_share": result["cached_tokens"] / max(1, result["prompt_tokens"]),
        "requests": result["ok"],
    }
    for key in ("ttft_ms", "e2e_ms", "tpot_ms", "gap_ms"):
        for percentile in ("p50", "p90", "p99"):
            measures[f"{key[:-3]}_{percentile}_ms"] = result[key] and result[key][percentile]
    return measures


def medians(rounds: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Median of each measure over the rounds that have it."""
    found: dict[str, float | None] = {}
    for key in rounds[0]:
        values = [value for one in rounds if (value := one[key]) is not None]
        found[key] = round(statistics.median(values), 5) if values else None
    return found


def run_rows(
    rows: Sequence[Row], running: Sequence[Running], corpus: Corpus, rounds: int, seed: int
) -> dict[str, Any]:
    """Every row on every system, in turns.

    A system that fails a row keeps its error in the result, and the others go on.
    """
    results: dict[str, Any] = {}
    for row in rows:
        taken: dict[str, list[dict[str, float | None]]] = {each.name: [] for each in running}
        failed: dict[str, str] = {}
        warm_up = write_bodies(row.build(corpus, seed + 999_983), LOCAL / "warm_up.jsonl")
        for each in running:
            try:
                requests = 1 if row.fleet.paced else WARM_UP_REQUESTS_PER_STREAM * row.concurrency
                run_load(
                    each.port,
                    warm_up,
                    concurrency=row.concurrency,
                    requests=max(requests, row.concurrency),
                )
            except LoadFailed as error:
                failed[each.name] = str(error)
        for index in range(rounds):
            bodies = write_bodies(row.build(corpus, seed + index), LOCAL / "bodies.jsonl")
            first = index % len(running)
            for each in [*running[first:], *running[:first]]:
                if each.name in failed:
                    continue
                try:
                    taken[each.name].append(measure(each, row, bodies))
                    print(
                        (
                            f"{row.name} round {index + 1} {each.name}: "
                            f"{summary(row, taken[each.name][-1])}"
                        ),
                        flush=True,
                    )
                except LoadFailed as error:
                    failed[each.name] = str(error)
                    print(f"{row.name} {each.name} FAILED: {error}", flush=True)
            bodies.unlink()
        warm_up.unlink()
        results[row.name] = {
            "title": row.title,
            "headline": row.headline[0],
            "more_is_better": row.headline[1],
            "failed": failed,
            "systems": {
                name: {"median": medians(list_), "rounds": list_}
                for name, list_ in taken.items()
                if list_
            },
        }
    return results


def summary(row: Row, measures: dict[str, float | None]) -> str:
    """The few figures of a row that a person wants to see at once."""
    keys = ["req_per_s", "e2e_p50_ms", "frontend_cpu_ms_per_req", "behind_cpu_ms_per_req"]
    if row.shape.stream:
        keys = [
            "tokens_per_s",
            "ttft_p50_ms",
            "gap_p99_ms",
            "frontend_cpu_us_per_token",
            "behind_cpu_us_per_token",
            "tokens_per_event",
        ]
        keys += ["cached_share"] * bool(row.groups)
    busy = " (load generator busy)" if (measures["loadgen_cores"] or 0) > LOADGEN_BUSY else ""
    return (
        ", ".join(f"{key} {value:,.3f}" for key in keys if (value := measures[key]) is not None)
        + busy
    )


def memory(running: Sequence[Running]) -> dict[str, dict[str, float]]:
    """Frontends' memory after the load, MiB."""
    readings = {
        "rss_mib": usage.rss_mib,
        "pss_mib": usage.pss_mib,
        "rss_peak_mib": usage.peak_rss_mib,
    }
    return {
        each.name: {key: round(read(each.frontend), 1) for key, read in readings.items()}
        for each in running
    }


def run_table(rows: Sequence[Row], names: Sequence[str], rounds: int, seed: int) -> dict[str, Any]:
    """All rows, those of one fleet after each other, with a start of the systems for each fleet."""
    model_dir = ensure_model_dir()
    corpus = Corpus(model_dir)
    result: dict[str, Any] = {
        "machine": machine(),
        "rounds": rounds,
        "seed": seed,
        "rows": {},
        "memory": {},
    }
    for fleet in dict.fromkeys(row.fleet for row in rows):
        chosen = [row for row in rows if row.fleet == fleet]
        with ExitStack() as stack:
            starting = Starting(stack, LOCAL / "logs")
            running = [
                SYSTEMS[name](name, EngineSpec(model_dir=model_dir, fleet=fleet), starting)
                for name in names
            ]
            time.sleep(SETTLE_S)
            result["memory"][f"idle{fleet.label}"] = memory(running)
            result["rows"].update(run_rows(chosen, running, corpus, rounds, seed))
            result["memory"][f"after_load{fleet.label}"] = memory(running)
    return result


def markdown(result: dict[str, Any], names: Sequence[str]) -> str:
    """The table of medians: headline figure, and CPU of frontend + engines (ms a request, or µs a
    token in streams); of streams the gaps between tokens too, p50 to p99.
    """
    lines = ["| work | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in result["rows"].values():
        cells: list[str] = []
        for name in names:
            median = row["systems"].get(name, {}).get("median")
            if median is None:
                cells.append("failed")
                continue
            unit = "us_per_token" if median["tokens_per_event"] is not None else "ms_per_req"
            cpu = (
                f"{median[f'frontend_cpu_{unit}']:.3g} + {median[f'behind_cpu_{unit}']:.3g} "
                f"{unit.partition('_')[0]}"
            )
            merged = (
                f", {median['tokens_per_event']:.3g} tokens an event"
                if (median["tokens_per_event"] or 0) > 1.05
                else ""
            )
            # no stream waits much longer than the others do
            gaps = (
                f", gap {median['gap_p50_ms']:.3g} to {median['gap_p99_ms']:.3g} ms"
                if unit == "us_per_token" and median["gap_p50_ms"]
                else ""
            )
            value = median[row["headline"]]
            cells.append(
                (f"{value:,.0f}" if value >= 1000 else f"{value:.3g}") + f" ({cpu}{merged}{gaps})"
            )
        lines.append(f"| {row['title']}: {row['headline']} | " + " | ".join(cells) + " |")
    for moment, found in result["memory"].items():
        lines.append(
            f"| frontend RSS MiB, {moment} | "
            + " | ".join(f"{found[name]['rss_mib']:.0f}" for name in names)
            + " |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", choices=TABLES, default="quick")
    parser.add_argument(
        "--rows", default="", help="comma-separated names of rows; all of the table if not given"
    )
    parser.add_argument(
        "--peers",
        default="none",
        help=f"comma-separated; dynamo stands for its three configurations; {', '.join(SYSTEMS)}",
    )
    parser.add_argument("--without-kvmesh", action="store_true", help="peers alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--name", default="", help="of the result file; the table's name if not given"
    )
    arguments = parser.parse_args()
    names = ([] if arguments.without_kvmesh else ["kvmesh"]) + peers_named(arguments.peers)
    wanted = {name for name in arguments.rows.split(",") if name}
    rows = [row for row in TABLES[arguments.table] if not wanted or row.name in wanted]
    if not rows or not names:
        parser.error(f"nothing to run; rows are {[row.name for row in TABLES[arguments.table]]}")
    result = run_table(rows, names, arguments.rounds, arguments.seed)
    result["table"] = arguments.table
    out = REPO / "bench/results" / f"{arguments.name or arguments.table}.json"
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result, names))
    from bench.kit.plot import plot  # noqa: PLC0415 - matplotlib takes a second to import and is not needed to measure

    print(out, plot(out))


if __name__ == "__main__":
    main()
