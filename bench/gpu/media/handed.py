"""Two pairs of an encode worker and a multimodal worker: one hands encodings over in frames, the
other one has them read with NIXL.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psutil

from bench.gpu.fleet import GpuFleet
from bench.gpu.media.loads import PICTURES, apart, seeing, write_bodies

VIEWS: Final[Mapping[str, tuple[str, ...]]] = {"frames": ("e1", "m1"), "memory": ("e2", "m2")}
OPTIONS: Final[Mapping[str, str]] = {
    "e1": "--encodings-nixl off",
    "m1": "--encodings-nixl off",
    "e2": "--log-level info",
    "m2": "--log-level info",
}
READ: Final = "were read from memory"


def handed(
    fleet: GpuFleet, scratch: Path, rounds: int, duration_s: float, report: dict[str, Any]
) -> None:
    """The same pictures for each pair in turns: the load, and milliseconds of CPU that a picture
    took in the processes that hand it over.
    """
    for index in range(-1, rounds):
        bodies = write_bodies(scratch / "pictures.jsonl", seeing(100 + index, 400))
        for view, names in VIEWS.items():
            port = fleet.addresses[view].http_port
            if index < 0:
                apart(port, bodies, PICTURES, 5)
                continue
            before = [cpu_ms(fleet, name) for name in names]
            measured = apart(port, bodies, PICTURES, duration_s)
            spent = [cpu_ms(fleet, name) - was for name, was in zip(names, before, strict=True)]
            pictures = max(1, measured["ok"])
            measured["encoder_cpu_ms"], measured["worker_cpu_ms"] = (
                round(each / pictures, 1) for each in spent
            )
            report.setdefault(view, []).append(measured)
            print(view, measured, flush=True)
    report["read"] = was_read(fleet, "m2")


def cpu_ms(fleet: GpuFleet, name: str) -> float:
    """Milliseconds of CPU of a worker's own process, without its engine's schedulers."""
    times = psutil.Process(fleet.workers[name].pid).cpu_times()
    return 1_000 * (times.user + times.system)


def was_read(fleet: GpuFleet, name: str) -> bool:
    """Whether a worker says that it has read anything with NIXL."""
    return READ in fleet.workers[name].output()
