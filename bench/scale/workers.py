"""The curve of workers: what a frontend takes for each that is connected, and a chat among many.

Real sockets: every worker dials, introduces itself, beats and publishes KV events, though all of
them share a process.
"""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.request import urlopen

from bench.kit.usage import pss_mib
from bench.kit.workloads import Corpus, Shape, fresh, write_bodies
from bench.scale.systems import MODEL, Started, started
from starter.process import REPO

COUNTS: Final = (1, 8, 64, 256, 512)
SETTLE_S: Final = 3.0
IDLE_S: Final = 4.0
ROUNDS: Final = 3
CHATS: Final = 2_000
MODEL_DIR: Final = REPO / "workers/demo_model/kvmesh-demo"


def curve() -> list[dict[str, Any]]:
    """A point for each count."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        shape = Shape(input_tokens=128, output_tokens=1, model=MODEL)
        bodies = write_bodies(fresh(Corpus(MODEL_DIR), shape, CHATS, 1), folder / "bodies.jsonl")
        return [_point(count, folder, bodies) for count in COUNTS]


def _point(count: int, folder: Path, bodies: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        own = folder / str(count)
        own.mkdir()
        running = started(
            stack, own, ("--sim-speedup", "0", "--max-total-tokens", "65536"), workers=count
        )
        time.sleep(SETTLE_S)
        idle_s = _idle(running)
        found = [running.load(bodies, concurrency=64, requests=CHATS) for _ in range(ROUNDS + 1)]
        chats_us = [1e6 * frontend_s / result["ok"] for result, frontend_s, _ in found[1:]]
        walls_s = [result["wall_s"] for result, *_ in found[1:]]
        told = {
            "workers": count,
            "idle_cores": round(idle_s / IDLE_S, 4),
            "idle_us_per_worker_s": round(1e6 * idle_s / IDLE_S / count, 1),
            "chat_us": round(median(chats_us), 1),
            "chat_us_without_idle": round(
                median(
                    us - 1e6 * (idle_s / IDLE_S) * wall_s / CHATS
                    for us, wall_s in zip(chats_us, walls_s, strict=True)
                ),
                1,
            ),
            "descriptors": len(list(Path(f"/proc/{running.frontend.pid}/fd").iterdir())),
            "memory_mib": round(pss_mib(running.frontend.pid), 1),
            "health": _page(f"{running.fleet.url}/health"),
            "metrics": _page(f"{running.fleet.url}/metrics"),
        }
        print(told, flush=True)
        return told


def _idle(running: Started) -> float:
    before_s, _ = running.cpu_s()
    time.sleep(IDLE_S)
    return running.cpu_s()[0] - before_s


def _page(url: str) -> dict[str, float]:
    begun_at = time.monotonic()
    with urlopen(url, timeout=30) as answer:
        size = len(answer.read())
    return {"bytes": size, "ms": round(1e3 * (time.monotonic() - begun_at), 1)}
