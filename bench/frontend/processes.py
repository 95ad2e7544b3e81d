"""What a second frontend process brings on this host, and how evenly two share their clients.

    python -m bench.frontend.processes

A frontend of one process and one of two, each with a simulated worker without a pace of its own,
take turns under the load generator. On two cores they share those with worker and generator: the
rows say how much of the host each took. Writes bench/results/frontend_processes.json.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench.compare.systems import machine
from bench.frontend.sharing import PROCESSES, shares
from bench.kit.load import run_load
from bench.kit.loadgen.build import build
from bench.kit.usage import cpu_s, pss_mib
from starter.addresses import Addresses
from starter.fleet import Fleet
from starter.pages import port_open
from starter.ports import free_port
from starter.process import REPO, Process, start
from starter.waiting import wait_until

COUNTS: Final = (1, PROCESSES)
CONCURRENCY: Final = 32
RESULT: Final = REPO / "bench/results/frontend_processes.json"

_TEXT: Final = "tell me what the river said to the stone about the green cloud over the house "
_CHAT: Final = {"model": "demo", "messages": [{"role": "user", "content": _TEXT}]}
LOADS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "chat": ("/v1/chat/completions", _CHAT | {"max_tokens": 16}),
    "chat, streamed": (
        "/v1/chat/completions",
        _CHAT | {"max_tokens": 64, "stream": True, "stream_options": {"include_usage": True}},
    ),
    "tokenize": ("/tokenize", {"model": "demo", "prompt": _TEXT * 8}),
}
"""Holds a path and a body by name; the last one needs no worker."""


def _fleet(stack: ExitStack, folder: Path, count: int) -> tuple[Fleet, Process, Process]:
    directory = folder / str(count)
    directory.mkdir()
    fleet = Fleet(directory, Addresses(mesh=f"ipc://{directory}/mesh"))
    stack.callback(fleet.stop)
    frontend = fleet.frontend("--frontend-processes", str(count), "--log-level", "warning")
    worker = fleet.worker(
        *("--engine", "sim", "--served-model-name", "demo", "--sim-speedup", "0"),
        *("--context-length", "4096"),
    )
    wait_until(
        lambda: worker.output().count("accepted us") == count, "all took the worker in", [worker]
    )
    return fleet, frontend, worker


def _round(
    fleet: Fleet, processes: tuple[Process, Process], load: str, bodies: Path, duration_s: float
) -> dict[str, float]:
    before = [cpu_s(process.pid) for process in processes]
    result = run_load(
        fleet.http_port,
        bodies,
        concurrency=CONCURRENCY,
        duration_s=duration_s,
        path=LOADS[load][0],
    )
    frontend_s, worker_s = (
        cpu_s(process.pid) - used for process, used in zip(processes, before, strict=True)
    )
    wall_s, ok = result["wall_s"], result["ok"]
    return {
        "requests_per_s": ok / wall_s,
        "frontend_cpu_ms": 1_000 * frontend_s / ok,
        "worker_cpu_ms": 1_000 * worker_s / ok,
        "frontend_cores": frontend_s / wall_s,
        "worker_cores": worker_s / wall_s,
        "loadgen_cores": result["loadgen_cpu_s"] / wall_s,
        "e2e_p50_ms": result["e2e_ms"]["p50"],
        "e2e_p99_ms": result["e2e_ms"]["p99"],
    }


def _loads(folder: Path, rounds: int, duration_s: float) -> dict[str, Any]:
    told: dict[str, dict[int, list[dict[str, float]]]] = {
        load: {count: [] for count in COUNTS} for load in LOADS
    }
    memory: dict[str, float] = {}
    with ExitStack() as stack:
        fleets = {count: _fleet(stack, folder, count) for count in COUNTS}
        for load, (_, body) in LOADS.items():
            bodies = folder / "bodies.jsonl"
            bodies.write_text(json.dumps(body) + "\n")
            for fleet, *processes in fleets.values():  # what is loaded once is not counted
                _round(fleet, (processes[0], processes[1]), load, bodies, 0.5)
            for number in range(rounds):
                for count in COUNTS if number % 2 else reversed(COUNTS):
                    fleet, frontend, worker = fleets[count]
                    row = _round(fleet, (frontend, worker), load, bodies, duration_s)
                    told[load][count].append(row)
                    shown = {key: round(value, 3) for key, value in row.items()}
                    print(load, count, shown, flush=True)
        for count, (_, frontend, _) in fleets.items():
            memory[str(count)] = round(pss_mib(frontend.pid), 1)
    return {
        "memory_mib": memory,
        "loads": {
            load: {str(count): _medians(rows) for count, rows in by_count.items()}
            for load, by_count in told.items()
        },
    }


def _medians(rows: list[dict[str, float]]) -> dict[str, Any]:
    medians = {key: round(statistics.median(row[key] for row in rows), 4) for key in rows[0]}
    return medians | {"rounds": [round(row["requests_per_s"], 1) for row in rows]}


def _generator_alone(folder: Path) -> dict[str, float]:
    """What the generator does where the server does next to nothing."""
    port, bodies = free_port(), folder / "alone.jsonl"
    bodies.write_text(json.dumps(LOADS["chat"][1]) + "\n")
    command = [str(build("bare_server")), "--port", str(port), "--model", "demo"]
    with start(command, folder / "bare.log") as bare:
        wait_until(lambda: port_open(port), "it serves", [bare])
        result = run_load(port, bodies, concurrency=CONCURRENCY, duration_s=2.0)
    return {
        "requests_per_s": round(result["req_per_s"]),
        "cpu_us": round(1e6 * result["loadgen_cpu_s"] / result["ok"], 1),
    }


def main() -> None:
    """Measures all of it, in two to three minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration-s", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        found: dict[str, Any] = {
            "machine": machine(),
            "at_unix_s": round(time.time()),
            "cores_for_all": len(os.sched_getaffinity(0)),
            "concurrency": CONCURRENCY,
            "generator_alone": _generator_alone(folder),
            "sharing": shares(),
        }
        print(json.dumps(found, indent=1), flush=True)
        found |= _loads(folder, arguments.rounds, arguments.duration_s)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
