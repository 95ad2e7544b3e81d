"""Runs bench/kit/loadgen and reads its JSON."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.kit.loadgen.build import build


class LoadFailed(RuntimeError):
    """The load generator refused its arguments, or too many requests failed."""


def run_load(
    port: int,
    bodies: Path,
    *,
    concurrency: int = 1,
    requests: int | None = None,
    duration_s: float | None = None,
    rate: float | None = None,
    path: str = "/v1/chat/completions",
    headers: Sequence[str] = (),
    records: Path | None = None,
    timeout_s: float = 120.0,
    errors_allowed: bool = False,
) -> dict[str, Any]:
    """One run against 127.0.0.1:`port`; bodies are taken in order and cycled.

    Args:
        rate: Poisson arrivals a second (open loop); None: closed loop.
        records: file for one tab-separated line a request.
    Returns:
        The generator's JSON object; times in ms, see bench/README.md.
    Raises:
        LoadFailed: bad arguments, or any request failed and errors_allowed is false.
    """
    command = [
        str(build("loadgen")),
        "--port",
        str(port),
        "--bodies",
        str(bodies),
        "--concurrency",
        str(concurrency),
        "--path",
        path,
    ]
    options = {
        "--requests": requests,
        "--duration-s": duration_s,
        "--rate": rate,
        "--records": records,
        "--timeout-s": timeout_s,
    }
    command += [
        text for name, value in options.items() if value is not None for text in (name, str(value))
    ]
    command += [text for header in headers for text in ("--header", header)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and not (errors_allowed and done.stdout):
        raise LoadFailed(done.stderr.strip() or done.stdout)
    result: dict[str, Any] = json.loads(done.stdout)
    bad_status = {
        code: count for code, count in result["status"].items() if not code.startswith("2")
    }
    if not errors_allowed and (any(result["errors"].values()) or bad_status):
        raise LoadFailed(f"errors {result['errors']}, statuses {bad_status} on port {port}")
    return result
