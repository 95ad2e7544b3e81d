"""What the guard measures: a frontend with two simulated workers, and the bare app that each load
is held against.
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.compare.systems import EngineSpec, asgi
from bench.compare.tables import FleetShape
from bench.guard.loads import LOADS, Load
from bench.guard.planted import Plant
from bench.kit.cores import keep_to
from bench.kit.running import READY_S_MAX, Starting
from starter.fleet import Fleet
from starter.process import REPO

MODEL_DIR: Final = REPO / "workers/demo_model/kvmesh-demo"
"""Lies ready in a clean checkout, where the tokenizer of other measurements is trained for 10 s."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: where it is asked, and its processes by their figures' names."""

    port: int
    processes: Mapping[str, int]


def start_systems(
    stack: ExitStack, folder: Path, plant: Plant | None = None
) -> dict[str, tuple[Side, Side]]:
    """Starts all of them; returns kvmesh and the bare app by load.

    Args:
        plant: slows one of kvmesh's processes down on purpose.
    """
    fleet = Fleet(folder)
    stack.callback(fleet.stop)
    program = plant.program_of if plant is not None else _itself
    frontend = fleet.start(
        *program("frontend"), *fleet.addresses.options, *("--log-level", "warning")
    )
    workers = {
        load.name: fleet.start(
            *program("workers"),
            *("--frontend", fleet.mesh, "--engine", "sim", "--log-level", "warning"),
            *("--model-path", str(MODEL_DIR), "--served-model-name", load.name),
            *("--sim-speedup", f"{load.speed:g}"),
        )
        for load in LOADS
    }
    starting = Starting(stack, folder, READY_S_MAX)
    bare = {load.name: _bare_app(load, starting) for load in LOADS}
    fleet.wait_for_workers(len(LOADS))
    for pid in (frontend.pid, *(side.processes["app"] for side in bare.values())):
        keep_to(0, pid)
    for pid in (os.getpid(), *(worker.pid for worker in workers.values())):
        keep_to(1, pid)  # the load generator, too, which this process starts
    return {
        name: (
            Side(fleet.http_port, {"frontend": frontend.pid, "worker": worker.pid}),
            bare[name],
        )
        for name, worker in workers.items()
    }


def _itself(program: str) -> tuple[str, ...]:
    return (program,)


def _bare_app(load: Load, starting: Starting) -> Side:
    spec = EngineSpec(model_dir=MODEL_DIR, fleet=FleetShape(paced=load.bare_paced))
    running = asgi(f"asgi-{load.name}", spec, starting)
    return Side(running.port, {"app": running.frontend})
