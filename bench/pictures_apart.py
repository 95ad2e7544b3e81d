"""Pictures encoded apart on the paced simulation, where each worker has a GPU of its own: clients
with fresh pictures beside clients that read text, and 256 pictures at once.

    python -m bench.pictures_apart [--rounds 3] [--name pictures_apart]

An ordinary worker and an encode worker take the same time to encode a picture (workers.sim.timing).
All fleets are up at once and take turns. Writes bench/results/NAME.json.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx

from bench.compare.systems import machine
from bench.gpu.media.loads import reading, seeing, together, told, write_bodies
from bench.kit.load import run_load
from bench.kit.workloads import MODEL_NAME
from starter.addresses import Addresses, worker_command
from starter.fleet import Fleet
from workers.demo_model import demo_model_dir

RESULTS: Final = Path(__file__).parent / "results"
ORDINARY: Final = ()
MULTIMODAL: Final = ("--multimodal-worker",)
ENCODE: Final = ("--multimodal-encode-worker",)
FLEETS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "one ordinary worker": (ORDINARY,),
    "two ordinary workers": (ORDINARY, ORDINARY),
    "an encode worker and another": (ENCODE, MULTIMODAL),
}
MIXED_S: Final = 15.0
BURST: Final = 256
TEXTS: Final = 32
ANSWER_S_MAX: Final = 300.0


def encoded(url: str) -> float:
    """How many pictures were encoded by a worker for another one."""
    name = 'kvmesh_frontend_encoded_images_total{found="made"}'
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def burst(addresses: Addresses, pictures: Path, texts: Path) -> dict[str, Any]:
    """So many fresh pictures at once, while others read text until the last is answered."""
    before = encoded(addresses.url)

    def load(bodies: Path, **options: Any) -> dict[str, Any]:
        common = {"timeout_s": ANSWER_S_MAX, "errors_allowed": True}
        return run_load(addresses.http_port, bodies, **common, **options)

    with ThreadPoolExecutor() as threads:
        seen = threads.submit(load, pictures, concurrency=BURST, requests=BURST)
        read = threads.submit(load, texts, concurrency=TEXTS, duration_s=MIXED_S)
        return {
            "pictures": told(seen.result()) | {"all_s": seen.result()["wall_s"]},
            "texts": told(read.result()),
            "encoded_apart": encoded(addresses.url) - before,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", default="pictures_apart")
    args = parser.parse_args()
    report: dict[str, Any] = {name: [] for name in FLEETS}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fleet, views = Fleet(folder), {name: Addresses() for name in FLEETS}
        texts = write_bodies(folder / "texts", reading(1, 500))
        try:
            for name, addresses in views.items():
                fleet.launch("frontend", addresses.frontend_command("--log-level", "warning"))
                for flags in FLEETS[name]:
                    options = ("--engine", "sim", "--model-path", str(demo_model_dir("vision")))
                    options += ("--served-model-name", MODEL_NAME, "--context-length", "8192")
                    fleet.launch("worker", worker_command([addresses.mesh], *options, *flags))
            for name, addresses in views.items():
                fleet.wait_until(
                    lambda name=name, addresses=addresses: (
                        addresses.workers_ready() == len(FLEETS[name])
                    ),
                    "workers serve",
                )
            for number in range(args.rounds):
                for turn, name in enumerate(list(views)[:: 1 if number % 2 else -1]):
                    seed = 10 * number + turn
                    pictures = write_bodies(folder / "mixed", seeing(seed, 300))
                    at_once = write_bodies(folder / "burst", seeing(1_000 + seed, BURST))
                    mixed = together(views[name].http_port, pictures, texts, MIXED_S)
                    at_once = burst(views[name], at_once, texts)
                    report[name].append({"mixed": mixed, "burst": at_once})
                    print(name, json.dumps(report[name][-1]), flush=True)
        finally:
            fleet.stop()
    found = {"machine": machine(), "fleets": report}
    (RESULTS / f"{args.name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
