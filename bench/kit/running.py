"""Systems under test, kvmesh and its peers alike: on their way up, and running."""

import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.kit.workloads import MODEL_NAME
from starter.process import REPO, Process, start
from starter.waiting import READY_S_MAX, wait_until


@dataclass(frozen=True)
class Running:
    """A started system.

    `frontend` is the process that speaks HTTP, which budgets are about; `behind` are the other
    processes that were started for it, its engines among them.
    """

    name: str
    port: int
    frontend: int
    behind: Sequence[int]

    @property
    def leaders(self) -> list[int]:
        """All processes that were started for it; each leads a session."""
        return [self.frontend, *self.behind]

    def alive(self) -> bool:
        """Whether all of them run."""
        return all(map(runs, self.leaders))


def runs(pid: int) -> bool:
    """Whether a process of this host, no matter whose child, has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass(frozen=True)
class Starting:
    """Processes of systems on their way up; `stack` ends them."""

    stack: ExitStack
    logs: Path
    seconds_max: float = READY_S_MAX

    def process(
        self,
        name: str,
        args: Sequence[str],
        env: Mapping[str, str] | None = None,
        folder: Path = REPO,
    ) -> Process:
        """Starts one in `folder`, with its output in a log of its name."""
        return self.stack.enter_context(
            start(args, self.logs / f"{name}.log", environment=env, folder=folder)
        )

    def wait(self, what: str, processes: Sequence[Process], ready: Callable[[], bool]) -> None:
        """Raises NotReady where one of them ends, or time is up, before all are ready."""
        wait_until(ready, what, processes, wait_s_max=self.seconds_max)


def chat_ok(port: int, timeout_s: float = 5.0) -> bool:
    """Whether one short chat is answered: the only readiness that every system has in common."""
    body = {
        "model": MODEL_NAME,
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 1,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return bool(json.load(answer)["choices"])
    except (OSError, ValueError, KeyError):
        return False
