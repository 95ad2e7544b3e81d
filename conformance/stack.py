"""The stack under test: `kvmesh up` with the demo model on real SGLang, an embedding worker beside
it, and simulated workers that make pictures and videos, all on the CPU.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from starter.fleet import Fleet
from starter.pages import http_json
from starter.process import REPO, Process
from starter.waiting import wait_until

CHAT_MODEL: Final = "kvmesh-demo"
EMBEDDING_MODEL: Final = "all-minilm-l6-v2"
IMAGE_MODEL: Final = "draws"
VIDEO_MODEL: Final = "films"
AGENT_MODEL: Final = "kvmesh-agent"
"""The demo model, told what to say (conformance/agents)."""

_MODELS: Final = frozenset({CHAT_MODEL, EMBEDDING_MODEL, IMAGE_MODEL, VIDEO_MODEL})
_BIN: Final = REPO / ".venv" / "bin"

READY_S_MAX: Final = 240.0
"""Two engines that start at once on two cores, from a cold disk."""

PARSERS: Final = ("--dyn-tool-call-parser", "qwen25", "--dyn-reasoning-parser", "qwen3")
"""Those of the demo model's template."""


class Stack:
    """What runs, as a fleet; its logs lie in the fleet's directory."""

    def __init__(self, directory: Path) -> None:
        self._fleet = Fleet(directory)

    @property
    def url(self) -> str:
        """The base, without `/v1`."""
        return self._fleet.url

    def start(self, embedding_model: Path) -> None:
        """Start it and wait until every worker is ready.

        Args:
            embedding_model: directory of a sentence-transformers model.
        Raises:
            NotReady: it did not come up.
        """
        up = [_BIN / "kvmesh", "up", "--verbose", *self._fleet.addresses.options, "--", *PARSERS]
        embedding = (
            *(_BIN / "python", "-m", "workers", "--frontend", self._fleet.mesh),
            *("--embedding-worker", "--model-path", embedding_model),
            *("--served-model-name", EMBEDDING_MODEL),
        )
        self._fleet.launch("chat", up)
        self._fleet.launch("embedding", embedding)
        for name, kind in (
            (IMAGE_MODEL, "--image-diffusion-worker"),
            (VIDEO_MODEL, "--video-generation-worker"),
        ):
            simulated = ("--engine", "sim", "--sim-speedup", "0", "--served-model-name", name)
            maker = [_BIN / "python", "-m", "workers", "--frontend", self._fleet.mesh, kind]
            self._fleet.launch(name, [*maker, *simulated])
        self._wait_for(_MODELS)

    @contextmanager
    def agent_model(self) -> Iterator[None]:
        """Serves what agents can work with; a third model would make a difference to the suites
        that name none.

        Raises:
            NotReady: it did not come up.
        """
        scripted = (
            *(_BIN / "python", "-m", "conformance.agents.scripted_worker"),
            *("--frontend", self._fleet.mesh, *PARSERS, "--served-model-name", AGENT_MODEL),
        )
        agent = self._fleet.launch("agent", scripted)
        try:
            self._wait_for(_MODELS | {AGENT_MODEL})
            yield
        finally:
            self._fleet.processes.remove(agent)
            _end(agent)

    def end(self) -> None:
        """End all that runs."""
        for process in reversed(self._fleet.processes):
            _end(process)

    def _wait_for(self, models: frozenset[str]) -> None:
        def served() -> bool:
            page = http_json(f"{self.url}/v1/models")
            return frozenset(model["id"] for model in page["data"]) == models

        what = f"{', '.join(sorted(models))} served"
        wait_until(served, what, self._fleet.processes, wait_s_max=READY_S_MAX)


@contextmanager
def started(directory: Path, *, embedding_model: Path) -> Iterator[Stack]:
    """The stack, once every worker is ready; all of it is ended in the end.

    Args:
        directory: takes the logs.
        embedding_model: directory of a sentence-transformers model.
    Raises:
        NotReady: it did not come up.
    """
    stack = Stack(directory)
    try:
        stack.start(embedding_model)
        yield stack
    finally:
        stack.end()


def _end(process: Process) -> None:
    """A part that does not end when it is asked to is killed, and fails nobody's suite."""
    with suppress(subprocess.TimeoutExpired):
        process.stop()
