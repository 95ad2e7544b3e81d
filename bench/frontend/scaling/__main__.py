"""What each further frontend process brings where frontends have cores of their own.

    python -m bench.frontend.scaling --out FILE

Frontends of 1, 2 and 4 processes, with a core a process, and one process with two cores, take turns
under load. Workers, which are simulated and have no pace of their own, and load generators have the
other cores, which is why it takes sixteen; on a host with fewer, 1 and 2 processes share all cores
with workers and generators, and `requests_per_frontend_cpu_s` is what can be compared. FILE is
written after every load. Needs gcc.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench.compare.systems import machine
from bench.frontend.scaling.cores import Placing, cores_here, on, placing, spun
from bench.frontend.scaling.fleets import Running, cases, started
from bench.frontend.scaling.loads import Load, loads
from bench.frontend.scaling.rounds import CONCURRENCY, measured, medians
from bench.kit.load import run_load
from bench.kit.loadgen.build import build
from bench.kit.usage import pss_mib
from starter.pages import port_open
from starter.ports import free_port
from starter.process import REPO, start
from starter.waiting import wait_until
from workers.demo_model import demo_model_dir

RESULT: Final = REPO / "bench/results/frontend_scaling.json"
WARM_UP_S: Final = 0.5


def _generator_alone(load: Load, folder: Path, placed: Placing) -> dict[str, float]:
    """What a generator does where the server does next to nothing."""
    port = free_port()
    command = [str(build("bare_server")), "--port", str(port), "--model", "demo"]
    with (
        on(placed.frontends[:1] if placed.apart else placed.workers),
        start(command, folder / "bare.log") as bare,
    ):
        wait_until(lambda: port_open(port), "it serves", [bare])
        with on(placed.generators):
            result = run_load(port, load.bodies, concurrency=CONCURRENCY, duration_s=2.0)
    return {
        "requests_per_s": round(result["req_per_s"]),
        "cpu_us": round(1e6 * result["loadgen_cpu_s"] / result["ok"], 1),
    }


def _turns(
    arguments: argparse.Namespace, asked: dict[str, Load], placed: Placing, found: dict[str, Any]
) -> None:
    """Fills `found`, and writes it after every load."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        running: dict[str, Running] = {}
        counts: dict[str, int] = {}
        for case in cases(arguments.counts, placed):
            name, folder = str(case), Path(directory) / f"{case.processes}-{case.cores}"
            running[name] = started(case, folder, stack, placed, arguments.workers)
            counts[name] = case.processes
        for load in arguments.loads or asked:
            rows: dict[str, list[dict[str, float]]] = {name: [] for name in running}
            for name, one in running.items():  # what is loaded once is not counted
                measured(one, asked[load], placed, counts[name], WARM_UP_S)
            for number in range(arguments.rounds):
                for name in running if number % 2 else reversed(running):
                    row = measured(
                        running[name], asked[load], placed, counts[name], arguments.duration_s
                    )
                    rows[name].append(row)
                    shown = {key: round(value, 3) for key, value in row.items()}
                    print(load, name, shown, flush=True)
            found["loads"][load] = {name: medians(told) for name, told in rows.items()}
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")
        for name, one in running.items():
            found["memory_mib"][name] = round(pss_mib(one.frontend.pid), 1)
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", help="of processes, rising")
    parser.add_argument("--loads", nargs="+", help="names of loads; all if not given")
    parser.add_argument("--workers", type=int, help="of each frontend; a core each, at most 6")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration-s", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


def main() -> None:
    """Measures all of it: in seven minutes with all of its counts, in four with 1 and 2."""
    arguments, cores = _arguments(), cores_here()
    arguments.counts = arguments.counts or ([1, 2, 4] if len(cores) >= 8 else [1, 2])
    placed = placing(cores, max(arguments.counts))
    arguments.workers = arguments.workers or (min(6, len(placed.workers)) if placed.apart else 1)
    with tempfile.TemporaryDirectory() as directory:
        asked = loads(Path(directory), demo_model_dir())
        found: dict[str, Any] = {
            "machine": machine(),
            "at_unix_s": round(time.time()),
            "cores": cores,
            "apart": placed.apart,
            "workers": arguments.workers,
            "concurrency": CONCURRENCY,
            "spun_per_s": {
                str(count): spun(placed.frontends[:count])
                for count in arguments.counts
                if count <= len(placed.frontends)
            },
            "generator_alone": _generator_alone(asked["chat"], Path(directory), placed),
            "loads": {},
            "memory_mib": {},
        }
        print(json.dumps(found, indent=1), flush=True)
        _turns(arguments, asked, placed, found)


if __name__ == "__main__":
    # whoever ends this has the frontends ended, too
    signal.signal(signal.SIGTERM, lambda _, __: sys.exit(128 + signal.SIGTERM))
    main()
