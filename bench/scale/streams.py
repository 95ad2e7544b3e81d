"""The curve of streams: what a token costs, and how long clients wait for the next one, from one
stream to thousands.

Ranks run at most 256 streams each, as engines do, all in one worker. The pace is that of the timing
model until all streams together make TOKENS_PER_S_MAX; beyond, engines are as much slower, so that
two cores see many streams and not only more tokens. A token's cost is the difference between two
runs of unlike length, beside which the chats' own cost falls out.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.kit.workloads import Corpus, Shape, fresh, write_bodies
from bench.scale.systems import MODEL, Run, Started, started
from bench.scale.workers import MODEL_DIR

COUNTS: Final = (1, 4, 16, 64, 256, 1_024, 4_096)
TOKENS_PER_S_MAX: Final = 8_000
STEP_S: Final = 0.006
"""Of the timing model, where the cache is nearly empty."""
RUNNING_MAX: Final = 256
SHORT_TOKENS: Final = 2
TOKENS_MIN, LONG_S = 16, 3.0
ROUNDS: Final = 3


def curve() -> list[dict[str, Any]]:
    """A point for each count."""
    with tempfile.TemporaryDirectory() as directory:
        return [_point(count, Path(directory)) for count in COUNTS]


def _point(count: int, folder: Path) -> dict[str, Any]:
    speed = min(1.0, TOKENS_PER_S_MAX * STEP_S / count)
    tokens = max(TOKENS_MIN, int(LONG_S / STEP_S * speed))
    ranks = -(-count // RUNNING_MAX)
    options = (
        *("--sim-speedup", f"{speed:g}", "--dp-size", str(ranks)),
        *("--max-running-requests", str(RUNNING_MAX), "--max-total-tokens", "1048576"),
    )
    with ExitStack() as stack:
        own = folder / str(count)
        own.mkdir()
        running = started(stack, own, options)
        short, long = (_bodies(own, count, SHORT_TOKENS + more) for more in (0, tokens))
        _run(running, short, count)
        rounds = [(_run(running, short, count), _run(running, long, count)) for _ in range(ROUNDS)]
    more = count * tokens
    frontend_us = [1e6 * (many.frontend_s - few.frontend_s) / more for few, many in rounds]
    worker_us = [1e6 * (many.worker_s - few.worker_s) / more for few, many in rounds]
    results = [many.result for _, many in rounds]
    told = {
        "streams": count,
        "ranks": ranks,
        "pace_ms": round(1e3 * STEP_S / speed, 1),
        "tokens_each": tokens,
        "frontend_us": round(median(frontend_us), 2),
        "worker_us": round(median(worker_us), 2),
        "gap_p50_ms": median(result["gap_ms"]["p50"] for result in results),
        "gap_p99_ms": median(result["gap_ms"]["p99"] for result in results),
        "client_bytes_per_token": round(
            median(
                (many.result["body_bytes"] - few.result["body_bytes"]) / more
                for few, many in rounds
            )
        ),
        "tokens_per_event": round(
            median(result["tokens"] / result["content_events"] for result in results), 3
        ),
        "rounds_us": [round(us, 2) for us in frontend_us],
    }
    print(told, flush=True)
    return told


def _bodies(folder: Path, count: int, tokens: int) -> Path:
    shape = Shape(input_tokens=8, output_tokens=tokens, stream=True, model=MODEL)
    bodies = fresh(Corpus(MODEL_DIR), shape, min(count, 512), seed=tokens)
    return write_bodies(bodies, folder / f"{tokens}.jsonl")


def _run(running: Started, bodies: Path, count: int) -> Run:
    return running.load(bodies, concurrency=count, requests=count)
