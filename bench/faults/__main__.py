"""`python -m bench.faults --name local/faults`: the fault table.

Each row starts a fleet of its own on the simulated engine.
"""

import argparse
import gc
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.compare.systems import machine
from bench.faults import clients, deaths, leaving, overload
from bench.faults.row import MAX_TOKENS, STREAMS, Bench, Outcome, Row
from starter.process import REPO

ROWS: Sequence[Row] = [*deaths.ROWS, *leaving.ROWS, *clients.ROWS, *overload.ROWS]


def line(outcome: Outcome) -> str:
    """A row of the printed table."""
    usual = (
        f" ({outcome.usual.p50:g} / {outcome.usual.p99:g} / {outcome.usual.max:g})"
        if outcome.usual
        else ""
    )
    cells = [
        outcome.fault,
        outcome.seen,
        "" if outcome.notice_s is None else f"{outcome.notice_s:g} s ({outcome.notice})",
        "" if outcome.gap_max_ms is None else f"{outcome.gap_max_ms:,.0f} ms{usual}",
        f"{outcome.lost} of {outcome.requests}",
        f"{outcome.texts_equal}",
        f"{outcome.moved}",
        ", ".join(f"{key} {value}" for key, value in outcome.more.items()),
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| fault | what clients saw | noticed after | longest gap (usual p50 / p99 / max) | lost | "
    "texts equal | moved | more |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="local/faults", help="of the result file")
    parser.add_argument(
        "--rows",
        default="",
        help=f"comma-separated; all if not given: {', '.join(row.name for row in ROWS)}",
    )
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS)
    parser.add_argument("--sim-speedup", type=float, default=1.0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda _, __: sys.exit(1))  # so that the fleet ends too
    # what the client keeps of its answers makes every full collection a pause of 150 ms
    gc.disable()
    wanted = {name for name in arguments.rows.split(",") if name}
    rows = [row for row in ROWS if not wanted or row.name in wanted or row.name == "nothing"]
    bench = Bench(arguments.sim_speedup, streams=arguments.streams, max_tokens=arguments.max_tokens)
    result: dict[str, Any] = {
        "machine": machine(),
        "streams": bench.streams,
        "max_tokens": bench.max_tokens,
        "sim_speedup": bench.speedup,
        "rows": [],
    }
    out = REPO / "bench/results" / f"{arguments.name}.json"
    print(HEAD, "|---" * HEAD.count(" | ") + "|---|", sep="\n", flush=True)
    for row in rows:
        began = time.monotonic()
        outcome = row.run(bench)
        print(line(outcome), flush=True)
        result["rows"].append(asdict(outcome) | {"row_s": round(time.monotonic() - began, 1)})
        out.write_text(json.dumps(result, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    main()
