"""Real SGLang in float32 and in the models' own bfloat16 on this host's CPU, in turns.

    python -m bench.sglang.number_formats [--rounds 4]

Both engines of a kind are up at once and take turns; an idle one sleeps. Writes
bench/results/number_formats.json.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx

from bench.compare.systems import machine
from bench.kit.workloads import LOCAL
from bench.sglang.through_the_mesh import READY_S_MAX, Mesh, in_turns, turns
from starter.fleet import Fleet

CASES: Final = ((1, 6, 64, 64), (16, 64, 64, 32), (64, 128, 64, 32), (4, 8, 1_500, 16))
"""Concurrency, requests, input tokens, output tokens."""

PICTURE_S_MAX: Final = 120.0
RESULT: Final = Path(__file__).parents[1] / "results/number_formats.json"
FULL, OWN = "float32", "bfloat16"
TEXT: Final = {FULL: ("--dtype", "float32"), OWN: ("--dtype", "auto")}
PICTURES: Final = {
    name: (
        *("--dit-precision", each, "--vae-precision", each),
        *("--text-encoder-precisions", each, each),
    )
    for name, each in ((FULL, "fp32"), (OWN, "bf16"))
}


def texts(rounds: int) -> dict[str, Any]:
    """Returns tokens/s and time to first token of each load in both formats."""
    LOCAL.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        systems: dict[str, Mesh] = {}
        for name, arguments in TEXT.items():
            bodies = LOCAL / f"{name}.jsonl"
            systems[name] = Mesh(bodies, *arguments, folder=f"number_formats_{name}")
            stack.callback(systems[name].stop)
        return in_turns(systems, CASES, rounds)


def pictures(rounds: int) -> dict[str, Any]:
    """Returns the seconds that a picture of the demo takes in both formats."""
    with ExitStack() as stack:
        draw = {name: _drawing(stack, name) for name in PICTURES}
        taken: dict[str, list[float]] = {name: [] for name in draw}
        for name, number in turns(draw, rounds):
            begun_s = time.perf_counter()
            draw[name]()
            if number:
                taken[name].append(round(time.perf_counter() - begun_s, 3))
    found = {name: {"s": statistics.median(each), "rounds": each} for name, each in taken.items()}
    print("a picture", found, flush=True)
    return found


def _drawing(stack: ExitStack, name: str) -> Callable[[], None]:
    """Returns what has a picture drawn, by a fleet of its own."""
    fleet = Fleet(LOCAL / f"number_formats_pictures_{name}")
    stack.callback(fleet.stop, wait_s_max=60)
    fleet.frontend()
    fleet.worker("--demo", "image", *PICTURES[name])
    fleet.wait_for_workers(1, wait_s_max=READY_S_MAX)
    client = stack.enter_context(httpx.Client(base_url=fleet.url, timeout=PICTURE_S_MAX))

    def draw() -> None:
        body = {"prompt": "a red circle on blue", "seed": 1}
        client.post("/v1/images/generations", json=body).raise_for_status()

    return draw


def main() -> None:
    """Take turns, print and write medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    result = {"machine": machine(), "texts": texts(rounds), "pictures": pictures(rounds)}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
