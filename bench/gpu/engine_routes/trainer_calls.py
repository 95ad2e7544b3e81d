"""Starts the trainer, and asks a worker for things, without torch."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from starter.process import REPO

TRAINER: Final = "bench.gpu.engine_routes.trainer"
ANSWER_S_MAX: Final = 200.0

CPU_RANKS: Final = 2
"""Ranks of tensor parallelism of a worker on a CPU."""


def trainer(what: str, checkpoint: Path, *rest: object) -> dict[str, Any]:
    """Runs the trainer; what the worker answered it.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", TRAINER, what, str(checkpoint), *map(str, rest)],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * ANSWER_S_MAX,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2_000:])
    return json.loads(done.stdout.splitlines()[-1]) if what != "build" else {}


def ask(port: int, route: str, **fields: Any) -> Any:
    """The answer of a route of a worker; its error, where there is none."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/engine/{route}",
        json.dumps(fields).encode(),
        {"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S_MAX) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)
