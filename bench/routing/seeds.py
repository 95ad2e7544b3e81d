"""Where the kv mode loses, or seems to, over several seeds: `python -m bench.routing.seeds`.

A seed is a fleet, users and words of its own. One seed says as little about a difference of 5 % as
one round of a load; here each figure is the median of several, beside the least and the greatest.
Some of the rows may be run at a time; the result keeps the others.

`kv, sent at once` is the kv mode where nobody waits for what another request has yet to compute, as
they do in frontends (frontend.routing.leaders). Beside it is seen what waiting brings where
siblings come together, and what it costs others.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.routing import table
from bench.routing.case import Case
from frontend.routing.router import RouterMode

RESULTS: Final = Path(__file__).parents[1] / "results" / "routing_seeds.json"

MEASURES: Final = (
    "ttft_p50_ms",
    "ttft_p99_ms",
    "ttft_mean_ms",
    "e2e_p50_ms",
    "tokens_per_s",
    "cached_share",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A workload on a fleet, seed by seed from 1 on, under these modes; `rate` None: its own."""

    workload: str
    ranks: int
    seeds: int
    modes: tuple[RouterMode, ...]
    frontends: tuple[int, ...] = (1, 2)
    rate: float | None = None

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return row_name(self.workload, self.ranks, self.rate)

    def cases(self) -> Iterable[Case]:
        """Every seed, of the kv mode once more with siblings that are sent at once."""
        for frontends in self.frontends:
            for seed in range(1, self.seeds + 1):
                for mode in self.modes:
                    for held in (True, False) if mode == "kv" else (True,):
                        yield Case(
                            workload=self.workload,
                            ranks=self.ranks,
                            mode=mode,
                            frontends=frontends,
                            rate=self.rate,
                            seed=seed,
                            held=held,
                        )


ROWS: Final = (
    Row(workload="bursts", ranks=64, seeds=3, modes=("kv",), frontends=(1,)),
    Row(workload="bursts", ranks=8, seeds=5, modes=("kv", "round-robin", "least-loaded")),
    Row(workload="groups-large", ranks=4, seeds=30, modes=("kv", "round-robin", "least-loaded")),
    *(
        Row(
            workload="groups-large",
            ranks=4,
            seeds=8,
            modes=("kv", "round-robin", "least-loaded"),
            frontends=(1,),
            rate=rate,
        )
        for rate in (17.0, 20.0)
    ),
    Row(workload="agents", ranks=8, seeds=6, modes=("kv",)),
    Row(workload="chat", ranks=8, seeds=3, modes=("kv",)),
    Row(workload="system-cold", ranks=8, seeds=4, modes=("kv",)),
    Row(workload="groups-small", ranks=4, seeds=10, modes=("kv",)),
    Row(workload="unshared", ranks=8, seeds=1, modes=("kv",), frontends=(1,)),
)
"""The largest first. Of 64 ranks one seed of round-robin says enough (bench/results/routing.json):
there it never shares. The rates of the last rows are those that round-robin and kv came to with 16
clients that ask again when they are answered (bench/results/prefix.json).
"""


def row_name(workload: str, ranks: int, rate: float | None) -> str:
    """Returns what the command line calls a row."""
    return f"{workload}-{ranks}" if rate is None else f"{workload}-{ranks}-{rate:g}"


def summaries(results: Iterable[table.Result]) -> list[dict[str, Any]]:
    """Returns, for each row, mode and number of frontends, the median of every measure and its
    range over the seeds.
    """
    groups: dict[tuple[str, int, float, int, str], list[dict[str, Any]]] = defaultdict(list)
    for case, figures in results:
        mode = case.mode if case.held else f"{case.mode}, sent at once"
        key = case.workload, case.ranks, case.rate or 0.0, case.frontends, mode
        groups[key].append(figures)
    return [
        {"workload": workload, "ranks": ranks, "rate": rate or None}
        | {"frontends": frontends, "mode": mode, "seeds": len(found)}
        | {
            measure: {
                "median": round(median(each[measure] for each in found), 4),
                "min": min(each[measure] for each in found),
                "max": max(each[measure] for each in found),
            }
            for measure in MEASURES
        }
        for (workload, ranks, rate, frontends, mode), found in sorted(groups.items())
    ]


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.routing.seeds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [row.name for row in ROWS]
    parser.add_argument("--rows", default=",".join(names), help="names separated by commas")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    wanted = arguments.rows.split(",")
    if unknown := set(wanted) - set(names):
        parser.error(f"unknown rows {sorted(unknown)}; there are {names}")
    cases = [case for row in ROWS if row.name in wanted for case in row.cases()]
    results: list[table.Result] = []
    for result in table.run(cases, arguments.processes):
        results.append(result)
        print(f"\r{len(results)}/{len(cases)}", end="", file=sys.stderr, flush=True)
    rows = summaries(results)
    for row in rows:
        name = row_name(row["workload"], row["ranks"], row["rate"])
        named = f"{name:19}{row['mode']:17}{row['frontends']:>2}"
        figures = (
            f"{key} {row[key]['median']} [{row[key]['min']}..{row[key]['max']}]" for key in MEASURES
        )
        print(named, *figures)
    before: list[dict[str, Any]] = (
        json.loads(arguments.out.read_text())["rows"] if arguments.out.exists() else []
    )
    kept = [
        row for row in before if row_name(row["workload"], row["ranks"], row["rate"]) not in wanted
    ]
    arguments.out.write_text(json.dumps({"rows": kept + rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
