"""`python -m bench.gpu.engine_routes --out FILE`: on one GPU in some three minutes; with a second
GPU the weights also come over a group, and with checkpoint-engine installed from one. `--cpu` tries
the program without a GPU.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from bench.gpu.engine_routes.trainer_calls import CPU_RANKS, ask, trainer
from bench.gpu.fleet import GpuFleet, Plan, start
from bench.gpu.three_way import gpus_here
from bench.kit.workloads import LOCAL
from starter.ports import free_port
from starter.process import STOP_S_MAX
from workers.demo_model import demo_model_dir

SCRATCH: Final = LOCAL / "gpu-engine-routes"
PARTS: Final = ("disk", "memory", "tensor", "half", "ipc", "group", "forsaken", "stuck")
"""The last one ends the worker."""

GIVEN_UP_S: Final = 5.0
"""What never comes is waited for this many seconds."""

VIEW, WORKER = "whole", "w1"
TOKENS: Final = 24
PROMPTS: Final = tuple(
    [[10 + (seed * 37 + at * at) % 900 for at in range(64)] for seed in range(6)]
)

GPU_ENGINE: Final = (
    "--attention-backend triton --sampling-backend pytorch --page-size 16 --log-level warning "
    "--max-total-tokens 400000 --mem-fraction-static 0.85"
)
CPU_ENGINE: Final = (
    "--page-size 16 --log-level warning --max-total-tokens 4096 --dtype float32 "
    f"--tp-size {CPU_RANKS}"
)


@dataclass
class Run:
    """A Run is one worker with the checkpoint "first", and what came of it so far."""

    args: argparse.Namespace
    report: dict[str, Any]
    fleet: GpuFleet
    port: int
    answers: dict[str, list[list[int]]]

    def do(self, part: str, check: Callable[[], Any]) -> None:
        """One part; what it fails of becomes its result, since the others are worth having."""
        began = time.monotonic()
        try:
            self.report[part] = check()
        except Exception as error:  # noqa: BLE001
            self.report[part] = {"failed": str(error) or repr(error)}
        self.report[part]["seconds"] = round(time.monotonic() - began, 1)
        self.args.out.write_text(json.dumps(self.report, indent=1) + "\n")
        print(part, json.dumps(self.report[part]), flush=True)

    def said(self) -> list[list[int]]:
        """What the worker says to each prompt, greedily; waits while it takes no requests."""
        answers = [
            self.fleet.ask(VIEW, prompt, TOKENS, return_token_ids=True) for prompt in PROMPTS
        ]
        wrong = [answer for answer in answers if isinstance(answer, str)]
        if wrong:
            raise RuntimeError(wrong[0])
        return [answer["choices"][0]["token_ids"] for answer in answers if isinstance(answer, dict)]

    def are(self, name: str) -> bool:
        """Whether the answers are those of a checkpoint."""
        return self.said() == self.answers[name]

    def state(self) -> str:
        """Why the worker takes no requests, as the frontend knows."""
        return str(self.fleet.addresses[VIEW].get("/health")[1]["workers"][0]["operated"])

    def load(self, name: str) -> Any:
        """Loads a checkpoint from disk."""
        return ask(self.port, "update_weights_from_disk", model_path=str(SCRATCH / name))


def disk(run: Run) -> dict[str, Any]:
    """From one checkpoint to another, and back."""
    run.answers["first"] = run.said()
    there = run.load("second")
    run.answers["second"] = run.said()
    back = run.load("first")
    return {
        "there": there,
        "back": back,
        "differ": run.answers["first"] != run.answers["second"],
        "same_again": run.are("first"),
    }


def gpu_mib() -> int:
    """Memory of the first GPU that is in use; 0 without one."""
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"]
    try:
        return int(subprocess.check_output(asked, text=True, timeout=20))
    except (OSError, subprocess.SubprocessError):
        return 0


def memory(run: Run) -> dict[str, Any]:
    """Frees the memory part by part, takes it again, and answers as before."""
    release, resume = "release_memory_occupation", "resume_memory_occupation"
    told: dict[str, Any] = {"used_mib": gpu_mib()}
    for tag in ("kv_cache", "weights"):
        told[f"release_{tag}"] = ask(run.port, release, tags=[tag])
        told[f"used_without_{tag}_mib"] = gpu_mib()
    told["state"] = run.state()
    told["update_while_released"] = run.load("first")
    told["resume"] = ask(run.port, resume)
    told["used_again_mib"] = gpu_mib()
    told["state_without_weights"] = ask_state(run)
    told["loaded"] = run.load("first")
    told["same_again"] = run.are("first")
    told["state_after"] = ask_state(run)
    return told


def ask_state(run: Run) -> str:
    """The state by the worker's own page, which is never late."""
    from starter.pages import http_page  # noqa: PLC0415

    return str(http_page(f"http://127.0.0.1:{run.port}/health")[1]["status"])


def tensor(run: Run) -> dict[str, Any]:
    """Weights out of another process's memory."""
    told = trainer("tensor", SCRATCH / "second", run.port, "cpu" if run.args.cpu else "cuda:0")
    return told | {"are_those": run.are("second"), "back": run.load("first")}


def group(run: Run) -> dict[str, Any]:
    """Weights that a process on another GPU broadcasts."""
    where = ("cpu", "gloo") if run.args.cpu else ("cuda:1", "nccl")
    told = trainer("group", SCRATCH / "second", run.port, *where)
    return told | {"are_those": run.are("second"), "back": run.load("first")}


def half(run: Run) -> dict[str, Any]:
    """Weights that one of two ranks cannot load."""
    where = "cpu" if run.args.cpu else "cuda:0"
    return trainer("half", SCRATCH / "second", run.port, where) | {"same_again": run.are("first")}


def ipc(run: Run) -> dict[str, Any]:
    """Weights from a checkpoint-engine on the same GPU."""
    told = trainer("ipc", SCRATCH / "second", run.port, "cuda:0")
    return told | {"are_those": run.are("second"), "back": run.load("first")}


def forsaken(run: Run) -> dict[str, Any]:
    """An update of several calls whose trainer is gone after the first one."""
    told: dict[str, Any] = {
        "begin": ask(run.port, "begin_weight_update", limit_s=GIVEN_UP_S),
        "state": ask_state(run),
    }
    return told | {"same_again": run.are("first"), "state_after": ask_state(run)}


def stuck(run: Run) -> dict[str, Any]:
    """A group whose other member never comes: the worker ends."""
    told = ask(
        run.port,
        "init_weights_update_group",
        master_address="127.0.0.1",
        master_port=free_port(),
        rank_offset=1,
        world_size=2,
        group_name="nobody",
        backend="gloo" if run.args.cpu else "nccl",
        limit_s=GIVEN_UP_S,
    )
    return {
        "init_weights_update_group": told,
        "exit_code": run.fleet.workers[WORKER].popen.wait(STOP_S_MAX),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the result, JSON")
    parser.add_argument("--start-seconds-max", type=float, default=300)
    parser.add_argument("--what", default=",".join(PARTS), help="the parts; disk comes first")
    parser.add_argument("--cpu", action="store_true", help="without a GPU: small, and over gloo")
    args = parser.parse_args()
    gpus = gpus_here()
    lacking = {
        "group": not args.cpu and len(gpus) < 2,
        "half": not args.cpu,
        "ipc": args.cpu or find_spec("checkpoint_engine") is None,
    }
    asked = [part for part in args.what.split(",") if not lacking.get(part)]
    if unknown := set(asked) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    shape = ("2", "64") if args.cpu else ("12", "1024")
    for seed, name in enumerate(("first", "second")):
        trainer("build", SCRATCH / name, str(seed), str(demo_model_dir()), *shape)
    port = free_port()
    plan = Plan(
        SCRATCH / "first",
        f"{CPU_ENGINE if args.cpu else GPU_ENGINE} --system-port {port}"
        + " --enable-memory-saver" * ("memory" in asked and not args.cpu),
        views={VIEW: (WORKER,)},
    )
    with ExitStack() as stack:
        began = time.monotonic()
        fleet = start(stack, SCRATCH, args.start_seconds_max, plan)
        report: dict[str, Any] = {"gpus": gpus, "start_s": round(time.monotonic() - began, 1)}
        print(json.dumps(report), flush=True)
        run = Run(args, report, fleet, port, {})
        checks = {
            "disk": disk,
            "memory": memory,
            "tensor": tensor,
            "half": half,
            "ipc": ipc,
            "group": group,
            "forsaken": forsaken,
            "stuck": stuck,
        }
        for part in asked:
            run.do(part, partial(checks[part], run))
    sys.exit(0 if all("failed" not in report[part] for part in asked) else 1)


if __name__ == "__main__":
    main()
