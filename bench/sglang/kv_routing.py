"""Real SGLang under load with shared prefixes, chats of several turns or fan-outs: kv routing
against round-robin, in turns, over the same engines.

    python -m bench.sglang.kv_routing [--rounds 3] [--name real_kv] [--load small] [--gpus N]
    [--checkout kv-NAME=FOLDER] [-- further arguments of the workers]

The workers (two of two ranks) dial two frontends, one of each mode, and one of the kv mode of every
other checkout of kvmesh. A round is one frontend's: fresh prompts, so that it profits from nothing
that the others left behind. What is cached is the engines' own count (`cached_tokens`). Writes
bench/results/NAME.json.

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
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.compare.systems import machine
from bench.kit.load import run_load
from bench.kit.running import Starting
from bench.sglang.kv_loads import LOADS, Load, perfect_share
from starter.addresses import Addresses, worker_command
from starter.pages import http_json
from starter.process import REPO
from workers.demo_model import demo_model_dir

RESULTS = Path(__file__).parents[1] / "results"
MODES = ("kv", "round-robin")
READY_S_MAX = 400.0


def start(
    stack: ExitStack,
    logs: Path,
    worker: Sequence[str],
    model: str | None,
    workers: int,
    gpus: int = 0,
    checkouts: Mapping[str, Path] | None = None,
) -> dict[str, int]:
    """The fleet; HTTP port by mode, or by the name of a checkout. With `gpus`, workers take them in
    turn.

    Workers start one after the other, since each measures the memory that is free.
    """
    starting = Starting(stack, logs, READY_S_MAX)
    folders = dict.fromkeys(MODES, REPO) | dict(checkouts or {})
    addresses = {name: Addresses() for name in folders}
    processes = [
        starting.process(
            f"real_kv-{name}",
            each.frontend_command("--router-mode", name if name in MODES else "kv"),
            folder=folders[name],
        )
        for name, each in addresses.items()
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


Rounds = dict[str, list[dict[str, float]]]
"""By frontend."""


def take_turns(
    ports: Mapping[str, int], load: Load, model: str, rounds: int, bodies: Path
) -> Rounds:
    """Rounds of all frontends, a different one first each time, behind one that warms up."""
    found: Rounds = {name: [] for name in ports}
    names = list(ports)
    for number in range(rounds + 1):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            seed = 1_000 * number + names.index(name)
            measures = measure(ports[name], load, model, seed, bodies)
            if number:
                found[name].append(measures)
            shown = {key: round(value, 3) for key, value in measures.items()}
            print(number, name, shown, flush=True)
    return found


def medians_of(rounds: Rounds) -> dict[str, dict[str, float]]:
    return {
        name: {key: statistics.median(one[key] for one in taken) for key in taken[0]}
        for name, taken in rounds.items()
    }


def main() -> None:
    """Take turns, print and write medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", default="real_kv", help="comma-separated, of each load's result")
    parser.add_argument("--model-path")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--load",
        default="small",
        help=f"comma-separated, of {', '.join(LOADS)}; large ones are for GPUs",
    )
    parser.add_argument("--gpus", type=int, default=0, help="give each worker one of so many")
    parser.add_argument(
        "--checkout",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a frontend of another kvmesh, in the mode kv",
    )
    parser.add_argument("worker", nargs="*", help="arguments of the workers, behind --")
    options = parser.parse_args()
    loads = dict(zip(options.name.split(","), options.load.split(","), strict=True))
    worker = options.worker or [
        "--dp-size",
        "2",
        "--max-total-tokens",
        "4096",
        "--kv-block-size",
        "16",
    ]
    checkouts = {
        name: Path(folder).resolve()
        for name, folder in (text.split("=", 1) for text in options.checkout)
    }
    logs = RESULTS / "local"
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        ports = start(
            stack, logs, worker, options.model_path, options.workers, options.gpus, checkouts
        )
        model = http_json(f"http://127.0.0.1:{ports['kv']}/v1/models")["data"][0]["id"]
        for name, load in ((name, LOADS[load]) for name, load in loads.items()):
            rounds = take_turns(ports, load, model, options.rounds, logs / "real_kv.jsonl")
            result = {
                "machine": machine(),
                "worker": worker,
                "load": repr(load),
                "perfect_share": perfect_share(load, model),
                "medians": medians_of(rounds),
            }
            print(json.dumps(result, indent=1), flush=True)
            (RESULTS / f"{name}.json").write_text(
                json.dumps(result | {"rounds": rounds}, indent=1) + "\n"
            )


if __name__ == "__main__":
    main()
