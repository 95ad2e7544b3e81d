"""`kvmesh up` with a pool for each stage on the GPUs of this host, and where they are too few."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from bench.gpu.fleet import ENGINE
from bench.kit.workloads import MODEL_NAME
from starter.ports import free_port

UP: Final = "import sys; from frontend.cli.main import main; sys.exit(main())"
START_S_MAX: Final = 150.0


def up(scratch: Path) -> dict[str, Any]:
    """Two workers share the GPU, answer, and end with Ctrl-C; without --gpu-share they do not
    start where there is one GPU.
    """
    engine = ENGINE.replace("--max-total-tokens 90000 --mem-fraction-static 0.85 ", "")
    pools = ("--prefill-workers", "1", "--decode-workers", "1")
    model = ("--model-path", str(scratch / "model"))
    engine_argv = (
        *("--", *engine.split(), "--served-model-name", MODEL_NAME),
        *("--disaggregation-transfer-backend", "nixl"),
    )
    alone = _up(scratch / "up-alone.log", *model, *pools, *engine_argv)
    code = alone.wait(60)
    port = free_port()
    shared = _up(
        scratch / "up-shared.log",
        *model,
        *pools,
        *("--gpu-share", "--http-port", str(port)),
        *engine_argv,
    )
    began = time.monotonic()
    found: dict[str, Any] = {
        "without_share": {"exit_code": code, "said": _last(scratch / "up-alone.log")}
    }
    try:
        found["ready_after_s"] = _ready(port, shared, began)
        found["answer"] = _ask(port)
        found["gpu_memory_mib"] = _memory()
    finally:
        told_at = time.monotonic()
        os.killpg(shared.pid, signal.SIGINT)
        found["exit_code"] = shared.wait(60)
        found["ended_after_s"] = round(time.monotonic() - told_at, 2)
        found["said"] = _last(scratch / "up-shared.log", 12)
    return found


def _up(log: Path, *argv: str) -> "subprocess.Popen[bytes]":
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-c", UP, "up", *argv],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _ready(port: int, process: "subprocess.Popen[bytes]", began: float) -> float | None:
    while time.monotonic() - began < START_S_MAX and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2):
                return round(time.monotonic() - began, 1)
        except OSError:
            time.sleep(0.5)
    return None


def _ask(port: int) -> Any:
    body = {"model": MODEL_NAME, "prompt": [7] * 3_000, "max_tokens": 8, "ignore_eos": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions",
        json.dumps(body | {"nvext": {"extra_fields": ["worker_id"]}}).encode(),
        {"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            told = json.load(answer)
            return {"usage": told["usage"], "nvext": told.get("nvext")}
    except OSError as error:
        return str(error)


def _memory() -> list[str]:
    shown = subprocess.run(
        ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout.split("\n")


def _last(log: Path, lines: int = 3) -> list[str]:
    return log.read_text(errors="replace").strip().splitlines()[-lines:]
