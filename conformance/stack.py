"""The stack under test: `kvmesh up` with the demo model on real SGLang, and an embedding worker
beside it, all on the CPU.
"""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starter.ports import reserve_ports

ROOT: Final = Path(__file__).resolve().parents[1]
CHAT_MODEL: Final = "kvmesh-demo"
EMBEDDING_MODEL: Final = "all-minilm-l6-v2"
AGENT_MODEL: Final = "kvmesh-agent"
"""The demo model, told what to say (conformance/agents)."""

_MODELS: Final = frozenset({CHAT_MODEL, EMBEDDING_MODEL})
_BIN: Final = ROOT / ".venv" / "bin"

READY_S_MAX: Final = 240.0
"""Two engines that start at once on two cores, from a cold disk."""

STOP_S_MAX: Final = 30.0

PARSERS: Final = ("--dyn-tool-call-parser", "qwen25", "--dyn-reasoning-parser", "qwen3")
"""Those of the demo model's template."""


class StackFailed(Exception):
    """A part of the stack ended, or was not ready in time; the text has the end of its log."""


@dataclass(frozen=True)
class Part:
    """A process of the stack and its log."""

    name: str
    popen: "subprocess.Popen[bytes]"
    log: Path

    def last_words(self) -> str:
        """The end of what it logged."""
        return self.log.read_text(errors="replace")[-4000:]


@dataclass(frozen=True)
class Stack:
    """What runs.

    Attributes:
        url: the base, without `/v1`.
        mesh: the address that workers connect to.
    """

    url: str
    mesh: str
    logs: Path
    parts: list[Part]

    @contextmanager
    def agent_model(self) -> Iterator[None]:
        """Serves what agents can work with; a third model would make a difference to the suites
        that name none.

        Raises:
            StackFailed: it did not come up.
        """
        scripted = [
            _BIN / "python",
            "-m",
            "conformance.agents.scripted_worker",
            "--frontend",
            self.mesh,
            *PARSERS,
        ]
        part = _start(self.logs, "agent", [*scripted, "--served-model-name", AGENT_MODEL])
        try:
            _wait_until_ready(self.url, [*self.parts, part], _MODELS | {AGENT_MODEL})
            yield
        finally:
            _stop(part)


@contextmanager
def started(logs: Path, *, embedding_model: Path) -> Iterator[Stack]:
    """The stack, once every worker is ready; all of it is stopped in the end.

    Args:
        logs: an existing directory for the parts' logs.
        embedding_model: directory of a sentence-transformers model.
    Raises:
        StackFailed: it did not come up.
    """
    port = reserve_ports(2)
    mesh = f"tcp://127.0.0.1:{port + 1}"
    parts: list[Part] = []
    try:
        parts.append(
            _start(
                logs,
                "chat",
                [
                    _BIN / "kvmesh",
                    "up",
                    "--verbose",
                    "--http-port",
                    port,
                    "--mesh-bind",
                    mesh,
                    "--",
                    *PARSERS,
                ],
            )
        )
        embedding = [_BIN / "python", "-m", "workers", "--frontend", mesh, "--embedding-worker"]
        parts.append(
            _start(
                logs,
                "embedding",
                [
                    *embedding,
                    "--model-path",
                    embedding_model,
                    "--served-model-name",
                    EMBEDDING_MODEL,
                ],
            )
        )
        stack = Stack(f"http://127.0.0.1:{port}", mesh, logs, parts)
        _wait_until_ready(stack.url, parts, _MODELS)
        yield stack
    finally:
        for part in reversed(parts):
            _stop(part)


def _start(logs: Path, name: str, command: Sequence[object]) -> Part:
    log = logs / f"{name}.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"KVMESH_CACHE_DIR": str(logs / "cache")},
        )
    return Part(name, popen, log)


def _wait_until_ready(url: str, parts: Sequence[Part], models: frozenset[str]) -> None:
    deadline = time.monotonic() + READY_S_MAX
    while _models(url) != models:
        for part in parts:
            if part.popen.poll() is not None:
                raise StackFailed(
                    f"{part.name} ended with exit code {part.popen.returncode}\n{part.last_words()}"
                )
        if time.monotonic() > deadline:
            raise StackFailed(
                f"not ready within {READY_S_MAX:.0f} s\n"
                + "\n".join(part.last_words() for part in parts)
            )
        time.sleep(0.5)


def _models(url: str) -> set[str]:
    try:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=5) as answer:
            return {model["id"] for model in json.load(answer)["data"]}
    except OSError:
        return set()


def _stop(part: Part) -> None:
    if part.popen.poll() is None:
        part.popen.send_signal(signal.SIGTERM)
    try:
        part.popen.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(part.popen.pid, signal.SIGKILL)
        part.popen.wait()
