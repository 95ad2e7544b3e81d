"""What a small mesh shows on its pages of metrics, after a request."""

import json
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starter.fleet import Fleet
from starter.ports import free_port

_MODEL: Final = "demo"
_LATEST: Final = "kvmesh_relay_gaps_total"
"""Names the series that comes last: with a worker's second heartbeat, if not with its first."""


@dataclass(frozen=True)
class Scraped:
    """The text of /metrics of a frontend, and of a worker."""

    frontend: str
    worker: str


def scraped() -> Scraped:
    """Starts a frontend and a simulated worker, asks something, and returns what they show."""
    with tempfile.TemporaryDirectory() as directory:
        fleet = Fleet(Path(directory))
        try:
            return scrape(fleet, start(fleet))
        finally:
            fleet.stop()


def start(fleet: Fleet) -> str:
    """Starts them in a fleet that has none yet; returns the base URL of the worker's pages."""
    port = free_port()
    fleet.frontend()
    options = ("--served-model-name", _MODEL, "--system-port", str(port))
    fleet.worker("--engine", "sim", *options)
    fleet.wait_for_workers(1)
    body = {"model": _MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    request = urllib.request.Request(
        f"{fleet.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()
    return f"http://127.0.0.1:{port}"


def scrape(fleet: Fleet, worker: str) -> Scraped:
    """Returns what they show as soon as the frontend has heard all of the worker."""
    fleet.wait_until(lambda: _LATEST in _text(fleet.url), f"{_LATEST} in /metrics")
    return Scraped(_text(fleet.url), _text(worker))


def _text(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        return answer.read().decode()
