"""Thousands of chats at once: what becomes of them, and what they cost the frontend while they
wait.

    python -m bench.burst

Two simulated workers, every setting as it comes. Writes bench/results/burst.json.
"""

import json
import time
from contextlib import ExitStack
from random import Random
from typing import Any

from bench.faults.fleet import MODEL, Fleet, FleetShape
from bench.kit.load import run_load
from bench.kit.usage import peak_rss_mib, reset_peak_rss, rss_mib
from bench.kit.workloads import LOCAL
from frontend.routing.waiting_memory import waiting_bytes
from starter.process import REPO

CASES = ((10_000, 20), (1_000, 2_000))
"""Requests, and words of a prompt; each is one token of the demo model, or a little more."""

OUTPUT_TOKENS = 20
ANSWER_S_MAX = 600.0
RESULT = REPO / "bench/results/burst.json"
_WORDS = ("apple", "river", "stone", "cloud", "green", "seven", "light", "house")


def _bodies(requests: int, words: int) -> str:
    random, lines = Random(words), list[str]()
    for _ in range(requests):
        text = " ".join(random.choices(_WORDS, k=words))
        body = {
            "model": MODEL,
            "max_tokens": OUTPUT_TOKENS,
            "messages": [{"role": "user", "content": text}],
            "stream": True,
        }
        lines.append(json.dumps(body | {"stream_options": {"include_usage": True}}))
    return "\n".join(lines) + "\n"


def _burst(fleet: Fleet, requests: int, words: int) -> dict[str, Any]:
    frontend = fleet.frontends[0]
    assert frontend.process is not None
    pid, bodies = frontend.process.pid, LOCAL / "burst_bodies.jsonl"
    bodies.parent.mkdir(parents=True, exist_ok=True)
    bodies.write_text(_bodies(requests, words))
    before_mib = rss_mib(pid)
    reset_peak_rss(pid)
    began = time.monotonic()
    result = run_load(
        frontend.port,
        bodies,
        concurrency=requests,
        requests=requests,
        timeout_s=ANSWER_S_MAX,
        errors_allowed=True,
    )
    highest_mib = peak_rss_mib(pid) - before_mib
    if result["status"] != {"200": requests}:
        raise SystemExit(f"not all were answered: {result['status']}, {result['errors']}")
    return {
        "requests": requests,
        "words": words,
        "all_answered_s": round(time.monotonic() - began, 1),
        "ttft_ms": result["ttft_ms"],
        "frontend_grew_mib": round(highest_mib),
        "kib_a_request": round(1024 * highest_mib / requests, 1),
        "counted_kib_a_request": round(waiting_bytes(words) / 1024, 1),
        "afterwards_mib": round(rss_mib(pid) - before_mib),
    }


def main() -> None:
    """One burst after the other on one fleet; a small one before, so that what is loaded once is
    not counted.
    """
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        fleet = Fleet(FleetShape(workers=2), stack, name="burst", speedup=1.0)
        fleet.start()
        _burst(fleet, 200, 20)
        for requests, words in CASES:
            rows.append(_burst(fleet, requests, words))
            print(json.dumps(rows[-1]), flush=True)
    RESULT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
