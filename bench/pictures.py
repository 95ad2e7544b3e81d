"""Pictures that are asked about again and again: kv routing against round-robin, in turns, over the
same simulated workers, whose caches hold some of them each.

    python -m bench.pictures [--rounds 3] [--name pictures]

A round is one mode's, with pictures of its own. Writes bench/results/NAME.json.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx

from bench.compare.systems import machine
from bench.gpu.media.loads import picture
from starter.addresses import Addresses, worker_command
from starter.fleet import Fleet
from workers.demo_model import demo_model_dir

RESULTS: Final = Path(__file__).parent / "results"
MODES: Final = ("kv", "round-robin")
WORKERS: Final = 4
PICTURES: Final = 32
SIDE_PIXELS: Final = 896
"""1,024 tokens of the simulated model."""
ASKED: Final = 6
"""So many times about each."""
CLIENTS: Final = 16
CACHE_TOKENS: Final = 16_384
"""Of a worker: half of all pictures."""


async def ask_all(url: str, seed: int) -> dict[str, float]:
    """One round; pictures come in an order of chance, and no question twice."""
    random_ = Random(seed)
    pictures = [picture(random_, SIDE_PIXELS) for _ in range(PICTURES)]
    order = [number for number in range(PICTURES) for _ in range(ASKED)]
    random_.shuffle(order)
    turns = iter(enumerate(order))
    cached: list[int] = []
    prompt: list[int] = []
    first_s: list[float] = []

    async def client(http: httpx.AsyncClient) -> None:
        for turn, number in turns:
            content = [
                {"type": "image_url", "image_url": {"url": pictures[number]}},
                {"type": "text", "text": f"Question {turn}?"},
            ]
            body = {"model": "sees", "messages": [{"role": "user", "content": content}]}
            began = time.monotonic()
            answer = await http.post(f"{url}/v1/chat/completions", json=body | {"max_tokens": 1})
            first_s.append(time.monotonic() - began)
            usage = answer.raise_for_status().json()["usage"]
            prompt.append(usage["prompt_tokens"])
            cached.append(usage["prompt_tokens_details"]["cached_tokens"])

    async with httpx.AsyncClient(timeout=120) as http:
        await asyncio.gather(*(client(http) for _ in range(CLIENTS)))
    return {
        "cached_share": sum(cached) / sum(prompt),
        "ttft_p50_ms": 1_000 * median(first_s),
        "ttft_p99_ms": 1_000 * sorted(first_s)[len(first_s) * 99 // 100],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", default="pictures")
    args = parser.parse_args()
    report: dict[str, Any] = {"machine": machine(), "modes": {mode: [] for mode in MODES}}
    with TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder))
        others = Addresses()
        views = dict(zip(MODES, (fleet.addresses, others), strict=True))
        try:
            for mode, addresses in views.items():
                fleet.launch(mode, addresses.frontend_command("--router-mode", mode))
            for _ in range(WORKERS):
                options = ("--engine", "sim", "--model-path", str(demo_model_dir("vision")))
                size = ("--max-total-tokens", str(CACHE_TOKENS), "--served-model-name", "sees")
                dialled = [addresses.mesh for addresses in views.values()]
                fleet.launch("worker", worker_command(dialled, *options, *size))
            ready = (addresses.workers_ready for addresses in views.values())
            for count in ready:
                fleet.wait_until(lambda count=count: count() == WORKERS, "workers serve")
            for number in range(args.rounds):
                for turn, mode in enumerate(MODES if number % 2 else MODES[::-1]):
                    told = asyncio.run(ask_all(views[mode].url, 2 * number + turn))
                    report["modes"][mode].append(told)
                    print(mode, told, flush=True)
        finally:
            fleet.stop()
    (RESULTS / f"{args.name}.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
