"""`kvmesh up` on hosts with GPUs, as far as a simulated engine shows it: a tool lists GPUs, and
workers note where they are placed.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from starter.process import Process
from tests.kit.fleet import Fleet

MAIN = "from frontend.cli.main import main; raise SystemExit(main())"
PLACED = f"""
from frontend.cli import up
class Child(up.Child):
    def __init__(self, name, arguments, **options):
        placed = ["tests.fleet.placed_worker" if a == "workers" else a for a in arguments]
        super().__init__(name, placed, **options)
up.Child = Child
up.RESTART_PAUSE_S = 0.05
{MAIN}
"""
SIM = ("--served-model-name", "demo", "--sim-speedup", "0", "--context-length", "4096")


@pytest.fixture
def gpus(tmp_path: Path) -> dict[str, str]:
    """The environment of a host with two GPUs."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\nfor gpu in 0 1; do echo "GPU $gpu: A GPU (UUID: GPU-$gpu)"; done\n')
    tool.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PLACES": str(tmp_path / "places")}


def start_up(fleet: Fleet, env: dict[str, str], *arguments: str, engine: str = "sglang") -> Process:
    addresses = ("--http-port", str(fleet.http_port), "--mesh-bind", fleet.mesh)
    command = [
        sys.executable,
        "-c",
        PLACED,
        "up",
        "--engine",
        engine,
        *addresses,
        *arguments,
        "--",
        *SIM,
    ]
    health = {"HEALTH_URL": f"{fleet.url}/health"}
    return fleet.launch("up", command, env={**env, **health})


def places(env: dict[str, str]) -> list[list[Any]]:
    file = Path(env["PLACES"])
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def ready(fleet: Fleet) -> list[str]:
    return sorted(
        worker["worker_id"] for worker in fleet.get("/health")[1]["workers"] if worker["ready"]
    )


def test_each_worker_has_a_gpu_of_its_own(fleet: Fleet, gpus: dict[str, str]) -> None:
    up = start_up(fleet, gpus, "--workers", "2")
    fleet.wait_until(lambda: "curl" in up.output(), "it serves")
    assert sorted(place[:2] for place in places(gpus)) == [["0", None], ["1", None]]


def test_pools_are_placed_and_answer_in_two_legs(fleet: Fleet, gpus: dict[str, str]) -> None:
    env = {**gpus, "KVMESH_WORKER_ID": "here"}
    up = start_up(fleet, env, "--prefill-workers", "1", "--decode-workers", "1")
    fleet.wait_until(lambda: "curl" in up.output(), "it serves")
    assert sorted(place[:2] for place in places(gpus)) == [["0", None], ["1", None]]
    assert ready(fleet) == ["here-decode-0", "here-prefill-0"]
    with fleet.client() as client:
        told = client.completions.create(
            model="demo", prompt="hi", extra_body={"nvext": {"extra_fields": ["worker_id"]}}
        )
    placed: Any = told.model_extra
    assert placed["nvext"]["worker_id"]["prefill_worker_id"] == "here-prefill-0"
    assert placed["nvext"]["worker_id"]["decode_worker_id"] == "here-decode-0"


def test_workers_that_share_a_gpu_start_in_turn_and_divide_it(
    fleet: Fleet, gpus: dict[str, str]
) -> None:
    env = {**gpus, "CUDA_VISIBLE_DEVICES": "1", "KVMESH_WORKER_ID": "w"}
    up = start_up(fleet, env, "--workers", "3", "--gpu-share")
    fleet.wait_until(lambda: "curl" in up.output(), "it serves")
    assert places(gpus) == [["0", "0.267", 0], ["0", "0.400", 1], ["0", "0.800", 2]]
    (victim,) = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and _is_worker(entry, "w-0")
    ]
    os.kill(victim, signal.SIGKILL)
    fleet.wait_until(lambda: len(places(gpus)) == 4, "it is started again")
    assert places(gpus)[3][:2] == ["0", "0.800"], "the others have their memory already"
    fleet.wait_until(lambda: ready(fleet) == ["w-0", "w-1", "w-2"], "it is back")


def _is_worker(process: Path, worker_id: str) -> bool:
    try:
        command = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"tests.fleet.placed_worker" in command and worker_id.encode() in command


@pytest.mark.parametrize(
    ("arguments", "hidden", "why"),
    [
        (("--workers", "3"), None, "3 workers take 3 GPUs, and 2 can be seen here"),
        (("--workers", "2"), "1", "2 workers take 2 GPUs, and 1 can be seen here"),
        (
            ("--prefill-workers", "1", "--decode-workers", "1"),
            "",
            "--prefill-workers and --decode-workers need GPUs",
        ),
        (("--prefill-workers", "1"), None, "--prefill-workers and --decode-workers go together"),
    ],
)
def test_what_cannot_be_placed_is_one_line_up_front(
    fleet: Fleet, gpus: dict[str, str], arguments: tuple[str, ...], hidden: str | None, why: str
) -> None:
    env = gpus if hidden is None else {**gpus, "CUDA_VISIBLE_DEVICES": hidden}
    up = start_up(fleet, env, *arguments)
    assert up.popen.wait(60) == 3
    (line,) = up.output().splitlines()
    assert line.startswith(f"kvmesh up cannot start: {why}")
    assert places(gpus) == []


def test_pools_of_simulated_engines_need_no_gpu(fleet: Fleet, tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), "PLACES": str(tmp_path / "places"), "KVMESH_WORKER_ID": "w"}
    pools = ("--prefill-workers", "2", "--decode-workers", "1", "--workers", "1")
    up = start_up(fleet, env, *pools, engine="sim")
    fleet.wait_until(lambda: "curl" in up.output(), "it serves")
    assert ready(fleet) == ["w-0", "w-decode-0", "w-prefill-0", "w-prefill-1"]
    with fleet.client() as client:
        assert client.completions.create(model="demo", prompt="hi").choices[0].text
