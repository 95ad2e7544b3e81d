"""Systems that are up: waiting until they are, telling whether they still are, ending all of their
processes.
"""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.kit.processes import REPO, Process, wait_until
from bench.kit.workloads import MODEL_NAME

TAIL_LINES = 25
FIRST_CHAT_S_MAX = 60.0
"""An engine compiles kernels for its first request."""


@dataclass(frozen=True)
class Running:
    """A started system.

    `frontend` is the process that speaks HTTP; `leaders` are the processes that were started for
    it, that one too.
    """

    name: str
    port: int
    frontend: int
    leaders: Sequence[int]

    def alive(self) -> bool:
        return all(_alive(pid) for pid in self.leaders)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def chat_ok(port: int) -> bool:
    """Whether one short chat is answered."""
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
        with urllib.request.urlopen(request, timeout=FIRST_CHAT_S_MAX) as answer:
            return bool(json.load(answer)["choices"])
    except (urllib.error.URLError, OSError, ValueError, KeyError):
        return False


@dataclass(frozen=True)
class Starting:
    """Processes of one system on their way up; `stack` ends them."""

    stack: ExitStack
    logs: Path
    seconds_max: float

    def process(
        self,
        name: str,
        args: Sequence[str],
        env: Mapping[str, str] | None = None,
        folder: Path = REPO,
    ) -> Process:
        """Starts one in `folder`, with its output in a log of its name."""
        elsewhere = [] if folder == REPO else ["env", "-C", str(folder)]
        return self.stack.enter_context(
            Process(name, [*elsewhere, *args], self.logs / f"{name}.log", env or {})
        )

    def wait(self, what: str, processes: Sequence[Process], ready: Callable[[], bool]) -> None:
        """Raises RuntimeError with the end of every log where one of them ends, or time is up,
        before all are ready.
        """
        try:
            wait_until(
                ready, what, self.seconds_max, lambda: all(process.alive() for process in processes)
            )
        except RuntimeError as error:
            raise RuntimeError(
                "\n".join([str(error), *(_tail(process) for process in processes)])
            ) from None


def _tail(process: Process) -> str:
    lines = process.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join([f"--- {process.log} ({'runs' if process.alive() else 'ended'})", *lines])


def end_all(systems: Iterable[Running], grace_s: float = 6.0) -> None:
    """Ends every process of the systems' sessions together: SIGINT, and after `grace_s` SIGKILL."""
    leaders = {pid for system in systems for pid in system.leaders}
    _signal_groups(leaders, signal.SIGINT)
    end = time.monotonic() + grace_s
    while time.monotonic() < end and any(_alive(pid) for pid in leaders):
        time.sleep(0.1)
    _signal_groups(leaders, signal.SIGKILL)


def _signal_groups(leaders: Iterable[int], number: signal.Signals) -> None:
    for pid in leaders:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


def note(systems: Sequence[Running], file: Path) -> None:
    """For a later call of the program that goes on with the same systems."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(system) for system in systems]) + "\n")


def noted(file: Path) -> list[Running]:
    """The systems that an earlier call left running and that still run.

    They are the caller's from now on: the file is gone.
    """
    try:
        found = [Running(**fields) for fields in json.loads(file.read_text())]
        file.unlink()
    except OSError:
        return []
    return [system for system in found if system.alive()]
