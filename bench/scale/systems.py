"""A frontend with simulated workers whose CPU is read while it is loaded."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.kit.load import run_load
from bench.kit.usage import cpu_s
from starter.fleet import Fleet
from starter.process import Process

MODEL: Final = "bench"


class Run(NamedTuple):
    """A run of the load generator: its result, and the CPU seconds of frontend and worker."""

    result: dict[str, Any]
    frontend_s: float
    worker_s: float


@dataclass(frozen=True)
class Started:
    """What runs."""

    fleet: Fleet
    frontend: Process
    worker: Process

    def cpu_s(self) -> tuple[float, float]:
        """What frontend and worker took so far."""
        return cpu_s(self.frontend.pid), cpu_s(self.worker.pid)

    def load(self, bodies: Path, **options: Any) -> Run:
        """Runs the load generator."""
        before = self.cpu_s()
        result = run_load(self.fleet.http_port, bodies, **options)
        frontend_s, worker_s = (
            after - earlier for after, earlier in zip(self.cpu_s(), before, strict=True)
        )
        return Run(result, frontend_s, worker_s)


def started(
    stack: ExitStack,
    folder: Path,
    options: Sequence[str],
    *,
    workers: int = 1,
    frontend_options: Sequence[str] = (),
) -> Started:
    """A frontend and so many workers, in one process where they are several.

    Args:
        options: of each worker and its simulated engine.
    """
    fleet = Fleet(folder)
    stack.callback(fleet.stop)
    frontend = fleet.frontend("--log-level", "warning", *frontend_options)
    program = ["workers"] if workers == 1 else ["bench.scale.swarm", str(workers)]
    worker = fleet.start(
        *program,
        *("--frontend", fleet.mesh, "--engine", "sim", "--log-level", "warning"),
        *("--served-model-name", MODEL, *options),
    )
    fleet.wait_for_workers(workers, wait_s_max=120.0)
    return Started(fleet, frontend, worker)
