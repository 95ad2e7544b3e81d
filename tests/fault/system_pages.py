"""Reads a worker's system pages."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from starter.pages import http_metric
from starter.ports import free_port
from starter.process import Process
from tests.kit.fleet import Fleet


@dataclass
class SystemPages:
    """Of the worker that was started with this port."""

    port: int

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and content.

        Raises:
            OSError: nobody listens.
        """
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=10
            ) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def status(self, path: str) -> int:
        return self.get(path)[0]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all label sets that have these; 0 while there is none."""
        return http_metric(f"http://127.0.0.1:{self.port}", name, **labels)


def worker_with_pages(fleet: Fleet, *arguments: str) -> tuple[Process, SystemPages]:
    """A sim worker of the model "demo" that answers probes."""
    port = free_port()
    worker = fleet.worker("--served-model-name", "demo", "--system-port", str(port), *arguments)
    return worker, SystemPages(port)
