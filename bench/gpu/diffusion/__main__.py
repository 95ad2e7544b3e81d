"""`python -m bench.gpu.diffusion --out FILE`: pictures a second of SGLang's DiffGenerator alone and
through the mesh, on one GPU, taking turns; and what leaving a running picture takes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from bench.gpu.diffusion.bare import READY
from bench.gpu.diffusion.model import LIKE, make_pipeline
from bench.gpu.three_way import gpus_here
from bench.kit.running import Starting
from bench.kit.workloads import LOCAL, MODEL_NAME
from starter.addresses import Addresses, worker_command
from workers.demo_model import demo_model_dir

SCRATCH: Final = LOCAL / "gpu-diffusion"

REQUEST_S_MAX: Final = 300.0

ATTENTION: Final = "torch_sdpa"
"""Needs no kernels beside PyTorch's: bundle.sh leaves FlashAttention's behind."""

WARM_UP_PICTURES: Final = 4

TO_FILE: Final = {"save_output": True, "output_path": str(SCRATCH / "pictures")}
"""As DiffGenerator gives pictures where nothing is said."""

CLIENTS: Final = (1, 4, 16)
"""So many ask at once through the mesh; alone, there is one caller."""


class Mesh:
    """A frontend and a worker that makes pictures."""

    def __init__(self, addresses: Addresses) -> None:
        self._url = addresses.url

    def picture(self, fields: dict[str, Any]) -> float:
        """Returns the seconds that a picture took, fetched as base64."""
        body = {
            "model": MODEL_NAME,
            "prompt": fields["prompt"],
            "size": f"{fields['width']}x{fields['height']}",
            "response_format": "b64_json",
            "seed": fields["seed"],
            "num_inference_steps": fields["num_inference_steps"],
        }
        request = urllib.request.Request(
            self._url + "/v1/images/generations",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=REQUEST_S_MAX) as answer:
            assert len(json.load(answer)["data"]) == 1
        return time.perf_counter() - began

    def pictures(self, orders: Sequence[dict[str, Any]], clients: int) -> dict[str, float]:
        """Returns pictures a second of so many clients, each asking for one after the other."""
        began = time.perf_counter()
        with ThreadPoolExecutor(clients) as threads:
            took = list(threads.map(self.picture, orders))
        return _told(took, time.perf_counter() - began)


class Bare:
    """SGLang's DiffGenerator in a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        line = self._stdout.readline().strip()
        assert line == READY, f"it ended: {line}"

    def picture(self, fields: dict[str, Any]) -> float:
        """Returns the seconds that a picture took."""
        self._stdin.write(json.dumps(fields) + "\n")
        self._stdin.flush()
        return float(self._stdout.readline())

    def pictures(self, orders: Sequence[dict[str, Any]], **fields: Any) -> dict[str, float]:
        """Returns pictures a second of one caller.

        Args:
            fields: are the same for all pictures.
        """
        began = time.perf_counter()
        took = [self.picture(order | fields) for order in orders]
        return _told(took, time.perf_counter() - began)


def _told(took: Sequence[float], wall_s: float) -> dict[str, float]:
    return {"pictures_per_s": len(took) / wall_s, "median_s": statistics.median(took)}


def orders(round_: int, count: int, side: int, steps: int) -> list[dict[str, Any]]:
    """Pictures that no other round asks for."""
    return [
        {
            "prompt": f"a red circle on blue, number {round_}-{number}",
            "width": side,
            "height": side,
            "num_inference_steps": steps,
            "seed": 1_000 * round_ + number,
        }
        for number in range(count)
    ]


@contextmanager
def _bare(model: Path, log: Path) -> Generator[Callable[[], Bare]]:
    """Starts a process; what it yields waits until that is ready."""
    command = [sys.executable, "-m", "bench.gpu.diffusion.bare", str(model)]
    with log.open("w") as file:
        process = subprocess.Popen(
            [
                *command,
                json.dumps({"model_id": LIKE, "num_gpus": 1, "attention_backend": ATTENTION}),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
        try:
            yield lambda: Bare(process)
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _mesh(stack: ExitStack, model: Path, seconds_max: float) -> Mesh:
    starting = Starting(stack, SCRATCH / "logs", seconds_max)
    addresses = Addresses(mesh=f"ipc://{SCRATCH / 'mesh'}")
    frontend = starting.process(
        "frontend", addresses.frontend_command("--cache-dir", str(SCRATCH / "cache"))
    )
    worker = starting.process(
        "worker",
        worker_command(
            [addresses.mesh],
            *("--image-diffusion-worker", "--model-path", str(model)),
            *("--served-model-name", MODEL_NAME, "--model-id", LIKE),
            *("--attention-backend", ATTENTION),
        ),
    )
    starting.wait("the worker", [frontend, worker], lambda: addresses.workers_ready() == 1)
    return Mesh(addresses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the result, JSON")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--pictures", type=int, default=24, help="of each turn")
    parser.add_argument("--side", type=int, default=1_024, help="pixels")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--demo", action="store_true", help="the demo model instead of a large one")
    parser.add_argument("--start-seconds-max", type=float, default=240)
    args = parser.parse_args()
    (SCRATCH / "logs").mkdir(parents=True, exist_ok=True)
    model = demo_model_dir("image") if args.demo else make_pipeline(SCRATCH / "model")
    report: dict[str, Any] = {"gpus": gpus_here(), "side": args.side, "steps": args.steps}
    with ExitStack() as stack:
        starts = stack.enter_context(_bare(model, SCRATCH / "logs" / "bare.log"))
        mesh = _mesh(stack, model, args.start_seconds_max)
        bare = starts()
        for round_ in range(args.rounds + 1):
            count = args.pictures if round_ else WARM_UP_PICTURES
            wanted = orders(round_, count, args.side, args.steps)
            measured: dict[str, Any] = {
                "alone": bare.pictures(wanted),
                "alone, to a file": bare.pictures(wanted, **TO_FILE),
            }
            for clients in CLIENTS:
                measured[f"mesh, {clients} clients"] = mesh.pictures(wanted, clients)
            if round_:  # the first one warms up
                report.setdefault("rounds", []).append(measured)
                print(json.dumps(measured), flush=True)
    speeds = {
        name: statistics.median(each[name]["pictures_per_s"] for each in report["rounds"])
        for name in report["rounds"][0]
    }
    report["pictures a second"] = speeds
    report["share of alone"] = {
        name: round(speed / speeds["alone"], 4) for name, speed in speeds.items()
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report["share of alone"]), flush=True)


if __name__ == "__main__":
    main()
