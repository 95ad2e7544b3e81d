"""What the guard measures: a frontend with a simulated worker for each load, and the bare app that
they are held against.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bench.guard.bounds import BARE
from bench.guard.counted import Counted
from bench.guard.loads import LOADS
from bench.guard.planted import Plant
from bench.kit.running import chat_ok
from starter.fleet import Fleet
from starter.ports import free_port
from starter.process import REPO

MODEL_DIR: Final = REPO / "workers/demo_model/kvmesh-demo"
"""Lies ready in a clean checkout, where the tokenizer of other measurements is trained for 10 s."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: where it is asked, and its processes by their figures' names.

    Attributes:
        ready: waits until it takes work.
    """

    port: int
    processes: Mapping[str, Counted]
    ready: Callable[[], None]


def start_systems(fleet: Fleet, plant: Plant | None = None) -> tuple[dict[str, Side], Side]:
    """Starts all of them, which the fleet ends, and counts their instructions once they serve;
    returns kvmesh by load, and the bare app.

    Args:
        plant: slows one of kvmesh's processes down on purpose.
    """
    program = plant.program_of if plant is not None else _itself

    def start(name: str, *arguments: str) -> Counted:
        return Counted.start(fleet, name, [sys.executable, "-m", *arguments])

    frontend = start(
        *("frontend", *program("frontend"), *fleet.addresses.options, "--log-level", "warning")
    )
    workers = {
        load.name: start(
            *(f"worker-{load.name}", *program("workers")),
            *("--frontend", fleet.mesh, "--engine", "sim", "--log-level", "warning"),
            *("--model-path", str(MODEL_DIR), "--served-model-name", load.name),
            *("--sim-speedup", f"{load.speed:g}"),
        )
        for load in LOADS
    }
    port = free_port()
    bare = start(BARE, *_bare_app(port))

    def ready() -> None:
        fleet.wait_for_workers(len(LOADS))

    kvmesh = {
        name: Side(fleet.http_port, {"frontend": frontend, "worker": worker}, ready)
        for name, worker in workers.items()
    }
    app = Side(port, {BARE: bare}, lambda: fleet.wait_until(lambda: chat_ok(port), "the bare app"))
    ready()
    app.ready()
    for each in (frontend, *workers.values(), bare):
        each.begin()
    return kvmesh, app


def _itself(program: str) -> tuple[str, ...]:
    return (program,)


def _bare_app(port: int) -> tuple[str, ...]:
    """Nothing of kvmesh's is in it, be it only its HTTP protocol: what costs both sides more would
    pass for less.
    """
    return (
        *("uvicorn", "bench.frontend.http_app:app", "--port", str(port), "--log-level", "critical"),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--lifespan", "off"),
    )
