"""How each system is started on GPUs, all with the same engine arguments: the only place with their
command lines.
"""

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.gpu.sglang_program import sglang_program
from bench.kit.running import Running, Starting, chat_ok
from bench.kit.workloads import MODEL_NAME
from starter.addresses import Addresses, worker_command
from starter.pages import http_json
from starter.ports import free_port
from starter.process import REPO, Process

ENGINE_ARGS = (
    "--load-format dummy --attention-backend triton --sampling-backend pytorch --page-size 16 "
    "--max-total-tokens 160000 --sleep-on-idle --log-level warning"
)
"""An engine that waits for its turn sleeps, for it otherwise takes a core from whoever has it."""
MEMORY_FRACTIONS = (0.35, 0.6, 0.7, 0.85)
"""Of the memory that is free when an engine starts, for the first, second, third and fourth one on
a GPU.
"""

first_chat_ok = partial(chat_ok, timeout_s=60.0)
"""An engine compiles kernels for its first request."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is the same for every system, and what a person wants of kvmesh."""

    model_path: Path
    engine_args: Sequence[str]
    scratch: Path
    gpus: int = 1
    frontend_args: Sequence[str] = ()
    variants: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """Arguments of further frontends over the same workers, by name."""
    checkouts: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Where kvmesh of another name lies."""

    def engine(self, memory_fraction: float) -> list[str]:
        named = ["--model-path", str(self.model_path), "--served-model-name", MODEL_NAME]
        return [*named, *self.engine_args, "--mem-fraction-static", str(memory_fraction)]

    def device(self, gpu: int) -> dict[str, str]:
        return {"CUDA_VISIBLE_DEVICES": str(gpu)} if self.gpus > 1 else {}


Starter = Callable[[Setup, Starting, float, str], list[Running]]


def kvmesh(setup: Setup, starting: Starting, memory_fraction: float, name: str) -> list[Running]:
    """A frontend, one more for each variant, and a worker a GPU that serves them all."""
    folder = setup.checkouts.get(name, REPO)
    options = {name: setup.frontend_args} | {
        f"{name}-{variant}": args for variant, args in setup.variants.items()
    }
    addresses = {
        each: Addresses(mesh=f"ipc://{setup.scratch / f'mesh-{each}'}") for each in options
    }
    frontends: dict[str, Process] = {}
    for each, args in options.items():
        command = addresses[each].frontend_command(
            *("--cache-dir", str(setup.scratch / "kvmesh-cache"), "--log-level", "warning", *args)
        )
        frontends[each] = starting.process(each, command, folder=folder)
    meshes = [each.mesh for each in addresses.values()]
    command = worker_command(meshes, *setup.engine(memory_fraction))
    workers = [
        starting.process(f"{name}-worker{gpu}", command, setup.device(gpu), folder)
        for gpu in range(setup.gpus)
    ]

    def ready() -> bool:
        return all(each.workers_ready() == setup.gpus for each in addresses.values()) and all(
            first_chat_ok(each.http_port) for each in addresses.values()
        )

    starting.wait(name, [*frontends.values(), *workers], ready)
    behind = [worker.pid for worker in workers]
    return [
        Running(each, addresses[each].http_port, process.pid, behind)
        for each, process in frontends.items()
    ]


def _sglang_servers(
    setup: Setup, starting: Starting, memory_fraction: float, name: str
) -> dict[int, Process]:
    """SGLang's own HTTP server on each GPU, by port.

    Each measures the memory of its own GPU, so they start together.
    """
    servers: dict[int, Process] = {}
    for gpu in range(setup.gpus):
        port = free_port()
        command = [
            *sglang_program("sglang.launch_server"),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            *setup.engine(memory_fraction),
        ]
        servers[port] = starting.process(f"{name}-server{gpu}", command, setup.device(gpu))
    starting.wait(name, list(servers.values()), lambda: all(map(first_chat_ok, servers)))
    return servers


def sglang(setup: Setup, starting: Starting, memory_fraction: float, name: str) -> list[Running]:
    """`sglang serve` as its users start it, on one GPU."""
    if setup.gpus > 1:
        raise RuntimeError("sglang is one server on one GPU: on several, take the gateway")
    servers = _sglang_servers(setup, starting, memory_fraction, name)
    return [Running(name, port, process.pid, []) for port, process in servers.items()]


def gateway(setup: Setup, starting: Starting, memory_fraction: float, name: str) -> list[Running]:
    """SGLang's gateway, routing by the text that it sent where, over an SGLang server a GPU."""
    servers = _sglang_servers(setup, starting, memory_fraction, name)
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "sglang_router.launch_router",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--policy",
        "cache_aware",
    ]
    command += ["--log-level", "warn", "--prometheus-port", str(free_port())]
    command += ["--worker-urls", *(f"http://127.0.0.1:{server}" for server in servers)]
    router = starting.process(name, command)
    starting.wait(name, [router, *servers.values()], lambda: first_chat_ok(port))
    return [Running(name, port, router.pid, [process.pid for process in servers.values()])]


def dynamo(setup: Setup, starting: Starting, memory_fraction: float, name: str) -> list[Running]:
    """Dynamo with kv routing over a worker a GPU, without etcd and NATS: file discovery, TCP
    requests, ZMQ events.
    """
    discovery, port = setup.scratch / "dynamo-discovery", free_port()
    shutil.rmtree(discovery, ignore_errors=True)
    planes = {
        "DYN_DISCOVERY_BACKEND": "file",
        "DYN_FILE_KV": str(discovery),
        "DYN_REQUEST_PLANE": "tcp",
        "DYN_EVENT_PLANE": "zmq",
    }
    env = planes | {"DYN_LOG": "warn"}
    command = [
        sys.executable,
        "-m",
        "dynamo.frontend",
        "--router-mode",
        "kv",
        "--http-port",
        str(port),
    ]
    frontend = starting.process(name, command, env)
    workers = [
        starting.process(
            f"{name}-worker{gpu}",
            [
                *sglang_program("dynamo.sglang"),
                *setup.engine(memory_fraction),
                "--kv-events-config",
                json.dumps(
                    {
                        "publisher": "zmq",
                        "topic": "kv-events",
                        "endpoint": f"tcp://*:{free_port()}",
                    }
                ),
            ],
            env | setup.device(gpu),
        )
        for gpu in range(setup.gpus)
    ]

    def ready() -> bool:
        found = http_json(f"http://127.0.0.1:{port}/health").get("instances", [])
        serving = {each["instance_id"] for each in found if each["endpoint"] == "generate"}
        return len(serving) == setup.gpus and first_chat_ok(port)

    starting.wait(name, [frontend, *workers], ready)
    return [Running(name, port, frontend.pid, [worker.pid for worker in workers])]


STARTERS: dict[str, Starter] = {
    "kvmesh": kvmesh,
    "sglang": sglang,
    "dynamo": dynamo,
    "gateway": gateway,
}


def default_systems(gpus: int) -> str:
    return "kvmesh,gateway,dynamo" if gpus > 1 else "kvmesh,sglang,dynamo"


def starter_of(name: str, setup: Setup) -> Starter:
    """Raises ValueError for a name that is neither a system nor another checkout of kvmesh."""
    if name in setup.checkouts:
        return kvmesh
    if name not in STARTERS:
        raise ValueError(f"unknown system {name!r}; there are {[*STARTERS, *setup.checkouts]}")
    return STARTERS[name]
