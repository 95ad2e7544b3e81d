"""Workers of several kinds on a GPU or two, behind a frontend for each way to use them."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.kit.running import Running, Starting
from bench.kit.workloads import MODEL_NAME
from starter.addresses import Addresses, worker_command
from starter.process import Process

VIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    "whole-1": ("w1",),
    "whole-2": ("w1", "w2"),
    "pair": ("p1", "d1"),
    "pairs": ("p1", "p2", "d1", "d2"),
}
"""Frontend → the workers that it knows."""

_PREFILL: Final = "--disaggregation-mode prefill"
_DECODE: Final = "--disaggregation-mode decode"
_FETCHES: Final = "--multimodal-worker"

KINDS: Final[Mapping[str, str]] = {
    "w": "",
    "p": _PREFILL,
    "d": _DECODE,
    "e": "--multimodal-encode-worker",
    "x": "--multimodal-processor",
    "m": _FETCHES,
    "q": f"{_FETCHES} {_PREFILL}",
    "n": f"{_FETCHES} {_DECODE}",
}
"""First letter of a worker's name → what makes it of its kind."""

ENGINE: Final = (
    "--load-format dummy --attention-backend triton --sampling-backend pytorch --page-size 16 "
    "--max-total-tokens 90000 --mem-fraction-static 0.85 --log-level warning "
    "--tool-call-parser qwen25 --reasoning-parser qwen3"
)
"""All start together: each takes its 10 GB of cache, whatever others take of the rest meanwhile."""

NIXL: Final = "--disaggregation-transfer-backend nixl"

WORKERS: Final = "workers"
FAST_BEATS: Final = "bench.gpu.disaggregation.fast_beats"
ANY_SIZE: Final = "bench.gpu.media.any_size"
"""Programs that a worker is."""

SIM: Final = "--engine sim --page-size 16 --max-total-tokens 90000"
"""Simulated engines instead, to try this program without a GPU."""

REQUEST_S_MAX: Final = 120.0

Answer = dict[str, Any] | str
"""What a frontend answers: an object, or what it says in place of one."""


@dataclass(frozen=True)
class Plan:
    """A Plan is what to start.

    Attributes:
        engine: arguments of every worker.
        views: frontend → the workers that it knows.
        legs: further arguments of prefill and decode workers.
        environment: of prefill and decode workers, on top of this process's.
        placed: worker → the GPU that it has; the first one, where it is not named.
        options: worker → further arguments of its own, which win.
        program: what is run in the place of `workers`.
    """

    model: Path
    engine: str = ENGINE
    views: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: VIEWS)
    legs: str = NIXL
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    placed: Mapping[str, int] = field(default_factory=dict[str, int])
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    program: str = WORKERS

    @property
    def workers(self) -> list[str]:
        """Their names."""
        return sorted({name for names in self.views.values() for name in names})

    def is_leg(self, name: str) -> bool:
        """Whether a worker runs one leg of each request."""
        return any(leg in KINDS[name[0]] for leg in (_PREFILL, _DECODE))

    def command(self, name: str, addresses: Mapping[str, Addresses]) -> list[str]:
        """What starts a worker for all frontends that know it."""
        legs = self.legs.split() if self.is_leg(name) else ()
        gpu = ("--base-gpu-id", str(self.placed[name])) if name in self.placed else ()
        command = worker_command(
            [addresses[view].mesh for view, names in self.views.items() if name in names],
            *("--worker-id", name, "--model-path", str(self.model)),
            *("--served-model-name", MODEL_NAME, *self.engine.split()),
            *(*KINDS[name[0]].split(), *legs, *gpu, *self.options.get(name, "").split()),
        )
        command[command.index(WORKERS)] = self.program
        return command


@dataclass(frozen=True)
class GpuFleet:
    """A GpuFleet is every worker and every frontend of this benchmark."""

    views: Mapping[str, tuple[str, ...]]
    addresses: Mapping[str, Addresses]
    frontends: Mapping[str, Process]
    workers: Mapping[str, Process]

    def running(self, view: str) -> Running:
        """The frontend of a view as the load generator's measures take it."""
        behind = [self.workers[name].pid for name in self.views[view]]
        return Running(view, self.addresses[view].http_port, self.frontends[view].pid, behind)

    def ask(self, view: str, prompt: Sequence[int], tokens: int, **fields: Any) -> Answer:
        """The answer to a greedy completion."""
        greedy = {"temperature": 0, "ignore_eos": True}
        body = {"prompt": list(prompt), "max_tokens": tokens}
        return self._post(view, "/v1/completions", body | greedy | fields)

    def _post(self, view: str, path: str, body: Mapping[str, Any]) -> Answer:
        request = urllib.request.Request(
            self.addresses[view].url + path,
            json.dumps({"model": MODEL_NAME, **body}).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_S_MAX) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return f"{error.code} {json.load(error)['error']['message']}"
        except OSError as error:
            return str(error)

    def chat(self, view: str, body: Mapping[str, Any]) -> Answer:
        """The answer to a chat."""
        return self._post(view, "/v1/chat/completions", body)

    def held(self, view: str) -> dict[str, tuple[int, int, int]]:
        """Worker → requests that the frontend counts there, and requests and KV tokens as its
        engine told last.
        """
        workers = self.addresses[view].get("/health")[1]["workers"]
        return {
            worker["worker_id"]: (
                sum(worker["requests"]),
                sum(worker["engine_requests"]),
                sum(worker["engine_kv_tokens"]),
            )
            for worker in workers
        }


def start(stack: ExitStack, scratch: Path, seconds_max: float, plan: Plan) -> GpuFleet:
    """Raises NotReady where one of them does not come up."""
    starting = Starting(stack, scratch / "logs", seconds_max)
    addresses = {view: Addresses(mesh=f"ipc://{scratch / f'mesh-{view}'}") for view in plan.views}
    frontends = {
        view: starting.process(view, each.frontend_command("--cache-dir", str(scratch / "cache")))
        for view, each in addresses.items()
    }
    workers = {
        name: starting.process(
            name,
            plan.command(name, addresses),
            plan.environment if plan.is_leg(name) else None,
        )
        for name in plan.workers
    }
    starting.wait(
        "the fleet",
        [*frontends.values(), *workers.values()],
        lambda: all(
            addresses[view].workers_ready() == len(names) for view, names in plan.views.items()
        ),
    )
    return GpuFleet(plan.views, addresses, frontends, workers)
