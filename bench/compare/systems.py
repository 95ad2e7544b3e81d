"""The systems that bench.compare.run compares: how each is started, and which of its processes is
the frontend.

The command lines of kvmesh and of every peer stand here and nowhere else.
"""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.compare.tables import FleetShape
from bench.kit.loadgen.build import build
from bench.kit.running import Running, Starting, chat_ok
from bench.kit.workloads import LOCAL, MODEL_NAME
from bench.peers.install import ensure
from starter.addresses import Addresses, worker_command
from starter.ports import free_port
from starter.process import Process

PACE_MS = 6.6
"""A token's time at a batch of 64 in the timing model that the simulated engines share; the bare
server is told it.
"""

DYNAMO_SPEEDUP_UNLIMITED = "1000000"
"""Its help calls 0 infinite, yet 1.6.1 then keeps the time of speed-up 1: 19 ms for one token,
where 1e6 gives 2 ms.
"""


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """The simulated fleet behind a frontend.

    `paced`: with the timing model; otherwise as fast as it goes.
    """

    model_dir: Path
    fleet: FleetShape
    page_tokens: int = 64


def _speedup(spec: EngineSpec) -> str:
    return "1" if spec.fleet.paced else "0"


Starter = Callable[[str, EngineSpec, Starting], Running]


def _up(
    starting: Starting,
    name: str,
    port: int,
    frontend: Process,
    behind: Sequence[Process],
    ready: Callable[[], bool] = lambda: True,
) -> Running:
    """The system, once it is ready and answers a chat."""
    starting.wait(name, [frontend, *behind], lambda: ready() and chat_ok(port))
    return Running(name, port, frontend.pid, [process.pid for process in behind])


def kvmesh(*options: str) -> Starter:
    """kvmesh with further frontend arguments."""

    def start(name: str, spec: EngineSpec, starting: Starting) -> Running:
        addresses = Addresses()
        frontend = starting.process(
            name,
            addresses.frontend_command(
                *("--cache-dir", str(LOCAL / "kvmesh-cache"), "--log-level", "warning", *options)
            ),
        )
        worker = worker_command(
            [addresses.mesh],
            *("--engine", "sim", "--log-level", "warning"),
            *("--model-path", str(spec.model_dir), "--served-model-name", MODEL_NAME),
            *("--sim-speedup", _speedup(spec)),
            *("--max-total-tokens", str(spec.fleet.cache_tokens)),
            *("--page-size", str(spec.page_tokens)),
        )
        behind = [
            starting.process(f"{name}-worker{index}", worker) for index in range(spec.fleet.workers)
        ]

        def ready() -> bool:
            return addresses.workers_ready() == spec.fleet.workers

        return _up(starting, name, addresses.http_port, frontend, behind, ready)

    return start


def dynamo(*options: str) -> Starter:
    """Dynamo's frontend and mocker without etcd and NATS: file discovery, TCP requests, ZMQ events.

    The mocker's vllm scheduler is the quicker of its two here, so Dynamo is compared by that one.
    """

    def start(name: str, spec: EngineSpec, starting: Starting) -> Running:
        python, port = str(ensure("dynamo")), free_port()
        discovery = LOCAL / f"{name}-discovery"
        shutil.rmtree(discovery, ignore_errors=True)
        env = {"DYN_FILE_KV": str(discovery), "DYN_LOG": "error", "HF_HUB_OFFLINE": "1"}
        planes = ["--discovery-backend", "file", "--request-plane", "tcp", "--event-plane", "zmq"]
        mocker = [
            python,
            "-m",
            "dynamo.mocker",
            *planes,
            "--model-path",
            str(spec.model_dir),
            "--model-name",
            MODEL_NAME,
        ]
        mocker += [
            "--engine-type",
            "vllm",
            "--block-size",
            str(spec.page_tokens),
            "--num-workers",
            str(spec.fleet.workers),
        ]
        mocker += ["--num-gpu-blocks-override", str(spec.fleet.cache_tokens // spec.page_tokens)]
        mocker += ["--speedup-ratio", "1" if spec.fleet.paced else DYNAMO_SPEEDUP_UNLIMITED]
        behind = [starting.process(f"{name}-mocker", mocker, env)]
        frontend = starting.process(
            name,
            [python, "-m", "dynamo.frontend", *planes, "--http-port", str(port), *options],
            env,
        )
        return _up(starting, name, port, frontend, behind)

    return start


def _bare_worker(name: str, spec: EngineSpec, starting: Starting) -> tuple[int, Process]:
    port = free_port()
    pace = ["--pace-us", str(int(PACE_MS * 1000))] if spec.fleet.paced else []
    return port, starting.process(
        name, [str(build("bare_server")), "--port", str(port), "--model", MODEL_NAME, *pace]
    )


def gateway(name: str, spec: EngineSpec, starting: Starting) -> Running:
    """SGLang's gateway over bare servers.

    It forwards bodies and tokenizes nothing; round-robin, since those keep no cache.
    """
    python, port = str(ensure("gateway")), free_port()
    workers = [
        _bare_worker(f"{name}-worker{index}", spec, starting) for index in range(spec.fleet.workers)
    ]
    args = [
        "-m",
        "sglang_router.launch_router",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--policy",
        "round_robin",
    ]
    args += ["--log-level", "error", "--prometheus-port", str(free_port()), "--worker-urls"]
    frontend = starting.process(
        name,
        [python, *args, *(f"http://127.0.0.1:{worker_port}" for worker_port, _ in workers)],
    )
    return _up(starting, name, port, frontend, [process for _, process in workers])


def asgi(name: str, spec: EngineSpec, starting: Starting) -> Running:
    """uvicorn with our protocol class and an app that answers at once: what is left of a Python
    frontend without its work.
    """
    port = free_port()
    args = [
        "-m",
        "uvicorn",
        "bench.frontend.http_app:app",
        "--port",
        str(port),
        "--loop",
        "uvloop",
        "--no-access-log",
        "--lifespan",
        "off",
    ]
    args += ["--http", "bench.frontend.guarded_http:GuardedAlone", "--log-level", "critical"]
    env = {"BENCH_PACE_MS": str(PACE_MS if spec.fleet.paced else 0)}
    frontend = starting.process(name, [sys.executable, *args], env)
    return _up(starting, name, port, frontend, [])


def bare(name: str, spec: EngineSpec, starting: Starting) -> Running:
    """The C server alone: the load generator's ceiling on this machine."""
    port, server = _bare_worker(name, spec, starting)
    return _up(starting, name, port, server, [])


SYSTEMS: dict[str, Starter] = {
    "kvmesh": kvmesh(),
    "kvmesh-least-loaded": kvmesh("--router-mode", "least-loaded"),
    "kvmesh-round-robin": kvmesh("--router-mode", "round-robin"),
    "dynamo-rr": dynamo("--router-mode", "round-robin"),
    "dynamo-kv": dynamo("--router-mode", "kv"),
    "dynamo-fastokens": dynamo("--router-mode", "round-robin", "--tokenizer", "fastokens"),
    "dynamo-fastokens-kv": dynamo("--router-mode", "kv", "--tokenizer", "fastokens"),
    "gateway": gateway,
    "asgi": asgi,
    "bare": bare,
}
MODES = ["kvmesh-least-loaded", "kvmesh-round-robin"]
PEERS = {
    "modes": MODES,
    "dynamo": ["dynamo-rr", "dynamo-kv", "dynamo-fastokens"],
    "none": list[str](),
}


def peers_named(text: str) -> list[str]:
    """System names from `--peers`: "dynamo" stands for its three configurations, "modes" for
    kvmesh's other ways of routing.

    Raises ValueError for an unknown name.
    """
    names = [name for part in text.split(",") for name in PEERS.get(part, [part])]
    if unknown := [name for name in names if name not in SYSTEMS]:
        raise ValueError(f"unknown peers {unknown}; there are {[*PEERS, *SYSTEMS]}")
    return names


def machine() -> dict[str, Any]:
    """Where figures were taken."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else "",
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "load_1min": os.getloadavg()[0],
    }
