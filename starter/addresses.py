"""Where a kvmesh frontend is reached, and the commands that put it and its workers there."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from starter.pages import http_page
from starter.ports import free_port


@dataclass(frozen=True)
class Addresses:
    """The HTTP port that clients ask and the mesh address that workers dial; they stay when the
    frontend's process is replaced.
    """

    http_port: int = field(default_factory=free_port)
    mesh: str = field(default_factory=lambda: f"tcp://127.0.0.1:{free_port()}")

    @property
    def url(self) -> str:
        """The base of its pages, without `/v1`."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def options(self) -> list[str]:
        """The frontend's arguments that give it these addresses."""
        return ["--http-port", str(self.http_port), "--mesh-bind", self.mesh]

    def frontend_command(self, *options: str) -> list[str]:
        """A frontend at these addresses."""
        return [sys.executable, "-m", "frontend", *self.options, *options]

    def get(self, path: str) -> tuple[int, Any]:
        """The status and the JSON of a page.

        Raises:
            OSError: nobody answers.
        """
        return http_page(self.url + path)

    def workers_ready(self) -> int:
        """How many workers take work, by the page /health.

        Raises:
            OSError: nobody answers.
        """
        return sum(worker["ready"] for worker in self.get("/health")[1]["workers"])


def worker_command(meshes: Iterable[str], *options: str) -> list[str]:
    """A worker that dials all of these mesh addresses."""
    dial = [word for mesh in meshes for word in ("--frontend", mesh)]
    return [sys.executable, "-m", "workers", *dial, *options]
