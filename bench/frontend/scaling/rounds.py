"""One load on one frontend for a while: what was answered, and whose cores were busy with it."""

import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from bench.frontend.scaling.cores import Placing, on
from bench.frontend.scaling.fleets import Running
from bench.frontend.scaling.loads import Load
from bench.kit.load import run_load
from bench.kit.usage import cpu_s

CONCURRENCY: Final = 32
"""Is how many connections a generator has; one generator comes with each process."""


def measured(
    running: Running, load: Load, placed: Placing, generators: int, duration_s: float
) -> dict[str, float]:
    """Requests a second, CPU of each side, and times, of as many generators at once."""

    def generate(_: int) -> dict[str, Any]:
        with on(placed.generators):
            return run_load(
                running.fleet.http_port,
                load.bodies,
                concurrency=CONCURRENCY,
                duration_s=duration_s,
                rate=load.rate,
                path=load.path,
            )

    sides = {"frontend": [running.frontend], "worker": running.workers}
    before = {side: sum(cpu_s(one.pid) for one in ones) for side, ones in sides.items()}
    with ThreadPoolExecutor(generators) as pool:
        told = list(pool.map(generate, range(generators)))
    used = {
        side: sum(cpu_s(one.pid) for one in ones) - before[side] for side, ones in sides.items()
    }
    used["loadgen"] = sum(one["loadgen_cpu_s"] for one in told)
    ok, wall_s = sum(one["ok"] for one in told), max(one["wall_s"] for one in told)
    return {
        "requests_per_s": ok / wall_s,
        "tokens_per_s": load.tokens * ok / wall_s,
        "requests_per_frontend_cpu_s": ok / used["frontend"],
        **{f"{side}_cpu_ms": 1_000 * seconds / ok for side, seconds in used.items()},
        **{f"{side}_cores": seconds / wall_s for side, seconds in used.items()},
        "e2e_p50_ms": statistics.median(one["e2e_ms"]["p50"] for one in told),
        "e2e_p99_ms": max(one["e2e_ms"]["p99"] for one in told),
    }


def medians(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Of each measure; of requests a second all rounds, and for a second of the frontends' CPU the
    best, which others' work on the host moves least.
    """
    middle = {key: round(statistics.median(row[key] for row in rows), 4) for key in rows[0]}
    return middle | {
        "requests_per_frontend_cpu_s_best": round(
            max(row["requests_per_frontend_cpu_s"] for row in rows), 1
        ),
        "rounds": [round(row["requests_per_s"], 1) for row in rows],
    }
