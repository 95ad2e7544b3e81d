"""The curve of prompts: what a chat costs, from 128 tokens to 128k, each of them fresh text."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.kit.workloads import Corpus, Shape, ensure_model_dir, fresh, write_bodies
from bench.scale.systems import MODEL, Run, started

LENGTHS: Final = (128, 512, 2_048, 8_192, 32_768, 126_000)
"""The last one leaves room for what a length of about so many tokens may be too long by."""
CONCURRENCY: Final = 4
TOKENS_PER_ROUND: Final = 1_500_000
CHATS_MIN, CHATS_MAX = 16, 1_000
ROUNDS: Final = 5


def curve() -> list[dict[str, Any]]:
    """A point for each length."""
    model_dir = ensure_model_dir()
    corpus = Corpus(model_dir)
    options = (
        *("--model-path", str(model_dir), "--sim-speedup", "0", "--page-size", "64"),
        *("--max-total-tokens", "1048576"),
    )
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        folder = Path(directory)
        running = started(stack, folder, options)
        points: list[dict[str, Any]] = []
        for length in LENGTHS:
            chats = min(CHATS_MAX, max(CHATS_MIN, TOKENS_PER_ROUND // length))
            shape = Shape(input_tokens=length, output_tokens=1, model=MODEL)
            rounds: list[Run] = []
            size = 0.0
            for seed in range(ROUNDS):
                bodies = write_bodies(
                    fresh(corpus, shape, chats, seed), folder / f"{length}-{seed}.jsonl"
                )
                size = bodies.stat().st_size / chats
                rounds.append(running.load(bodies, concurrency=CONCURRENCY, requests=chats))
                bodies.unlink()
            points.append(
                {
                    "prompt_tokens": round(
                        rounds[0].result["prompt_tokens"] / rounds[0].result["ok"]
                    ),
                    "body_bytes": round(size),
                    "frontend_us": round(
                        median(1e6 * each.frontend_s / chats for each in rounds), 1
                    ),
                    "worker_us": round(median(1e6 * each.worker_s / chats for each in rounds), 1),
                    "e2e_p50_ms": median(each.result["e2e_ms"]["p50"] for each in rounds),
                    "rounds_us": [round(1e6 * each.frontend_s / chats, 1) for each in rounds],
                }
            )
            print(points[-1], flush=True)
    return points
