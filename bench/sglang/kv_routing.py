"""Real SGLang under load with shared prefixes, chats of several turns or fan-outs: kv routing
against round-robin, in turns, over the same engines.

    python -m bench.sglang.kv_routing [--rounds 3] [--name real_kv] [--load small] [--gpus N]
    [-- further arguments of the workers]

The workers (two of two ranks) dial two frontends, one of each mode. A round is one mode's: fresh
prompts, so that it profits from nothing that the other left behind. What is cached is the engines'
own count (`cached_tokens`). Writes bench/results/NAME.json.

Fan-outs on two GPUs, with the model of bench.gpu.three_way:

    python -c "from pathlib import Path; from bench.gpu.model import make_model_dir;
    make_model_dir(Path('/tmp/model'))"
    python -m bench.sglang.kv_routing --load large-fan-outs --gpus 2 --name real_fan_outs_gpu
    --model-path /tmp/model -- --load-format dummy --attention-backend triton
    --sampling-backend pytorch --page-size 16 --max-total-tokens 160000
    --mem-fraction-static 0.6 --context-length 32768
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from bench.compare.systems import machine
from bench.kit.load import run_load
from bench.kit.running import Starting
from starter.addresses import Addresses, worker_command
from starter.pages import http_json
from workers.demo_model import demo_model_dir

RESULTS = Path(__file__).parents[1] / "results"
MODES = ("kv", "round-robin")
READY_S_MAX = 400.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """Chats of `turns` turns, in `groups` that share a beginning; token counts are of prompts
    unless said otherwise.

    `in_runs`: all of a group come one behind the other, a fan-out where they are as many as are
    together.
    """

    groups: int
    prefix_tokens: int
    chats_per_group: int
    turns: int
    turn_tokens: int
    output_tokens: int
    concurrency: int
    in_runs: bool = False
    vocabulary: range = range(10, 1_900)

    @property
    def requests(self) -> int:
        return self.groups * self.chats_per_group * self.turns

    def bodies(self, model: str, seed: int) -> Iterator[dict[str, Any]]:
        """All first turns, then all second ones, each time in another order: a turn follows its
        predecessor's answer.
        """
        rng = Random(seed)

        def text(length: int) -> list[int]:
            return rng.choices(self.vocabulary, k=length)

        prefixes = [text(self.prefix_tokens) for _ in range(self.groups)]
        chats = [list(prefix) for prefix in prefixes for _ in range(self.chats_per_group)]
        for turn in range(self.turns):
            if not self.in_runs:  # or round-robin would meet each chat on the same rank again
                rng.shuffle(chats)
            for chat in chats:
                # The answer before is stood in for by text of its length: it cannot be known
                # beforehand.
                chat.extend(text(self.turn_tokens + (self.output_tokens if turn else 0)))
                yield {
                    "model": model,
                    "prompt": chat,
                    "max_tokens": self.output_tokens,
                    "temperature": 0,
                    "ignore_eos": True,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                }


SMALL = Load(
    groups=8,
    prefix_tokens=512,
    chats_per_group=3,
    turns=4,
    turn_tokens=32,
    output_tokens=16,
    concurrency=8,
)
"""For two CPU cores and the demo model.

With 4,096 KV tokens a rank holds four of the eight prefixes with their chats.
"""

LARGE = Load(
    groups=16,
    prefix_tokens=8_192,
    chats_per_group=4,
    turns=4,
    turn_tokens=256,
    output_tokens=64,
    concurrency=32,
)
"""For a GPU."""

FAN_OUTS = Load(
    groups=6,
    prefix_tokens=1_024,
    chats_per_group=16,
    turns=1,
    turn_tokens=32,
    output_tokens=16,
    concurrency=16,
    in_runs=True,
)
"""For two CPU cores and the demo model."""

LARGE_FAN_OUTS = Load(
    groups=10,
    prefix_tokens=4_096,
    chats_per_group=40,
    turns=1,
    turn_tokens=256,
    output_tokens=128,
    concurrency=40,
    in_runs=True,
)
"""For GPUs: as the fan-outs of bench.routing, one as soon as the one before ends."""

LOADS = {
    "small": SMALL,
    "large": LARGE,
    "fan-outs": FAN_OUTS,
    "large-fan-outs": LARGE_FAN_OUTS,
}


def start(
    stack: ExitStack,
    logs: Path,
    worker: Sequence[str],
    model: str | None,
    workers: int,
    gpus: int = 0,
) -> dict[str, int]:
    """The fleet; HTTP port by mode. With `gpus`, workers take them in turn.

    Workers start one after the other, since each measures the memory that is free.
    """
    starting = Starting(stack, logs, READY_S_MAX)
    addresses = {mode: Addresses() for mode in MODES}
    processes = [
        starting.process(f"real_kv-{mode}", each.frontend_command("--router-mode", mode))
        for mode, each in addresses.items()
    ]
    meshes = [each.mesh for each in addresses.values()]
    path = ("--model-path", model or str(demo_model_dir()))
    for number in range(workers):
        command = worker_command(meshes, *path, "--worker-id", f"w{number}", *worker)
        device = {"CUDA_VISIBLE_DEVICES": str(number % gpus)} if gpus else None
        processes.append(starting.process(f"real_kv-w{number}", command, device))

        def joined(expected: int = number + 1) -> bool:
            return all(each.workers_ready() == expected for each in addresses.values())

        starting.wait(f"worker {number}", processes, joined)
    return {mode: each.http_port for mode, each in addresses.items()}


def measure(port: int, load: Load, model: str, seed: int, bodies: Path) -> dict[str, float]:
    """One round of one mode."""
    bodies.write_text("".join(json.dumps(body) + "\n" for body in load.bodies(model, seed)))
    result = run_load(
        port, bodies, concurrency=load.concurrency, requests=load.requests, path="/v1/completions"
    )
    return {
        "cached_share": result["cached_tokens"] / result["prompt_tokens"],
        "ttft_p50_ms": result["ttft_ms"]["p50"],
        "ttft_p99_ms": result["ttft_ms"]["p99"],
        "tokens_per_s": result["tokens_per_s"],
    }


def perfect_share(load: Load, model: str) -> float:
    """Of all prompt tokens, those that an engine with unlimited memory would find cached."""
    seen: set[tuple[int, ...]] = set()
    found = total = 0
    for body in load.bodies(model, 0):
        pages = [tuple(body["prompt"][:end]) for end in range(16, len(body["prompt"]), 16)]
        found += 16 * sum(page in seen for page in pages)
        total += len(body["prompt"])
        seen.update(pages)
    return found / total


def main() -> None:
    """Take turns, print and write medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", default="real_kv")
    parser.add_argument("--model-path")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--load", choices=LOADS, default="small", help="large ones are for GPUs")
    parser.add_argument("--gpus", type=int, default=0, help="give each worker one of so many")
    parser.add_argument("worker", nargs="*", help="arguments of the workers, behind --")
    options = parser.parse_args()
    load = LOADS[options.load]
    worker = options.worker or [
        "--dp-size",
        "2",
        "--max-total-tokens",
        "4096",
        "--kv-block-size",
        "16",
    ]
    (RESULTS / "local").mkdir(parents=True, exist_ok=True)
    bodies = RESULTS / "local" / "real_kv.jsonl"
    rounds: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    with ExitStack() as stack:
        ports = start(
            stack,
            RESULTS / "local",
            worker,
            options.model_path,
            options.workers,
            options.gpus,
        )
        model = http_json(f"http://127.0.0.1:{ports['kv']}/v1/models")["data"][0]["id"]
        for number in range(options.rounds + 1):
            for mode in sorted(MODES, reverse=bool(number % 2)):
                measures = measure(
                    ports[mode], load, model, 1_000 * number + MODES.index(mode), bodies
                )
                if number:  # the first round warms up
                    rounds[mode].append(measures)
                print(
                    number,
                    mode,
                    {key: round(value, 3) for key, value in measures.items()},
                    flush=True,
                )
    medians = {
        mode: {key: statistics.median(one[key] for one in taken) for key in taken[0]}
        for mode, taken in rounds.items()
    }
    result = {
        "machine": machine(),
        "worker": worker,
        "load": repr(load),
        "perfect_share": perfect_share(load, model),
    }
    (RESULTS / f"{options.name}.json").write_text(
        json.dumps(result | {"medians": medians, "rounds": rounds}, indent=1) + "\n"
    )
    print(json.dumps(result | {"medians": medians}, indent=1))


if __name__ == "__main__":
    main()
