"""Programs with SGLang in forks of a process that has imported it (prepared.py): one such process
for each of pytest's, begun with the first program.
"""

import atexit
import functools
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypedDict, cast

from starter.process import REPO, Process
from tests.kit.sglang_environment import sglang_environment

ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Threads of a small model only wait for each other, where two engines share two cores. Libraries
read it when they are imported, so that it is the same for all forks.
"""


class Program(TypedDict):
    """What Python would be given, and files for its input and output."""

    argv: list[str]
    stdin: str
    out: str
    err: str
    environment: dict[str, str]


class Fork:
    """A program in a fork; has what `subprocess.Popen` has, which only a parent could be."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.ended = threading.Event()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self.ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """The prepared process. A thread hears of its forks, whose ends no test may miss for another's
    output.
    """

    def __init__(self) -> None:
        self._log = tempfile.NamedTemporaryFile()  # noqa: SIM115 - as long as this process
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "tests.kit.prepared"],
            cwd=REPO,
            env=environment_of({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        self._asking = threading.Lock()
        self._begun: queue.SimpleQueue[Fork | None] = queue.SimpleQueue()
        self._running: dict[int, Fork] = {}
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._hearing.start()

    def start(self, program: Program) -> Fork:
        """Begin a program.

        Raises:
            RuntimeError: the prepared process has ended; the text is the end of its log.
        """
        assert self._popen.stdin is not None
        with self._asking:
            self._popen.stdin.write(json.dumps(program).encode() + b"\n")
            self._popen.stdin.flush()
            fork = self._begun.get()
        if fork is None:
            raise RuntimeError(Path(self._log.name).read_text(errors="replace")[-4_000:])
        return fork

    def close(self) -> None:
        """End the prepared process, and with it the forks that run."""
        self._popen.stdin.close()  # pyright: ignore[reportOptionalMemberAccess] - it is a pipe
        self._popen.wait()
        self._hearing.join()
        self._popen.stdout.close()  # pyright: ignore[reportOptionalMemberAccess] - as above

    def _hear(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            told: dict[str, int] = json.loads(line)
            if "status" in told:
                fork = self._running.pop(told["pid"])
                fork.returncode = told["status"]
                fork.ended.set()
            else:
                fork = self._running[told["pid"]] = Fork(told["pid"])
                self._begun.put(fork)
        self._begun.put(None)


@functools.cache
def _forks() -> Forks:
    forks = Forks()
    atexit.register(forks.close)
    return forks


def environment_of(more: Mapping[str, str]) -> dict[str, str]:
    """What a program with SGLang finds in its environment in tests."""
    return {
        **os.environ,
        **ONE_THREAD,
        **sglang_environment(),
        "PYTHONPATH": str(REPO),
        **more,
    }


def start_forked(argv: list[Any], log: Path, environment: Mapping[str, str]) -> Process:
    """`python ARGV` in a session of its own, with nothing to read and its output in a log."""
    log.write_bytes(b"")
    fork = _forks().start(
        {
            "argv": [str(word) for word in argv],
            "stdin": os.devnull,
            "out": str(log),
            "err": str(log),
            "environment": environment_of(environment),
        }
    )
    return Process(log.stem, cast("subprocess.Popen[bytes]", fork), log)


def run_forked(*argv: Any, given: str = "") -> "subprocess.CompletedProcess[str]":
    """As subprocess.run, of `python ARGV` with a text to read."""
    with tempfile.TemporaryDirectory() as directory:
        stdin, out, err = (Path(directory) / name for name in ("in", "out", "err"))
        stdin.write_text(given)
        fork = _forks().start(
            {
                "argv": [str(word) for word in argv],
                "stdin": str(stdin),
                "out": str(out),
                "err": str(err),
                "environment": environment_of({}),
            }
        )
        status = fork.wait()
        return subprocess.CompletedProcess(argv, status, out.read_text(), err.read_text())
