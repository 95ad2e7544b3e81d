"""`python -m bench.routing`: the modes on every workload; `--sweep`: the kv mode's weights.

Deterministic by seed.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from bench.routing import report, table
from bench.routing.plot import plot
from bench.routing.workloads import WORKLOADS

RESULTS = Path(__file__).parents[1] / "results"


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.routing", description=__doc__)
    parser.add_argument(
        "--workloads", default=",".join(WORKLOADS), help="names separated by commas"
    )
    parser.add_argument(
        "--ranks",
        default="8,64",
        help="fleet sizes separated by commas; the 16 groups always have 4",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sweep", action="store_true", help="weights instead of modes")
    parser.add_argument(
        "--out", type=Path, default=None, help="JSON file; a PNG of the modes goes beside it"
    )
    arguments = parser.parse_args()
    workloads = arguments.workloads.split(",")
    sizes = [int(size) for size in arguments.ranks.split(",")]
    cells = (
        table.weights(workloads, arguments.seed)
        if arguments.sweep
        else table.standard(workloads, sizes, arguments.seed)
    )
    out = arguments.out or RESULTS / ("routing_weights.json" if arguments.sweep else "routing.json")
    begun = time.perf_counter()
    results: list[table.Result] = []
    for case, figures in table.run(cells, arguments.processes):
        results.append((case, figures))
        print(f"\r{len(results)}/{len(cells)}", end="", file=sys.stderr, flush=True)
    order = {cell: position for position, cell in enumerate(cells)}
    results.sort(
        key=lambda result: (workloads.index(result[0].workload), result[0].ranks, order[result[0]])
    )
    print(report.header())
    for case, figures in results:
        print(report.line(case, figures))
    rows = report.as_json(results)
    missed = [] if arguments.sweep else report.misses(results)
    print(*(missed or ["all promises hold"] if not arguments.sweep else []), sep="\n")
    wall_s = round(time.perf_counter() - begun, 1)
    out.write_text(
        json.dumps(
            {"seed": arguments.seed, "wall_s": wall_s, "misses": missed, "cells": rows}, indent=1
        )
        + "\n"
    )
    if not arguments.sweep:
        plot(rows, out.with_suffix(".png"))
    print(f"{out} in {wall_s} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
