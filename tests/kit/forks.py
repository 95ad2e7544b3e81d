"""Cheap starts of programs: forks of a process that has imported what they import (prepared.py),
one for each sort of program and each of pytest's processes, begun with the first program.
"""

import atexit
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypedDict

from starter.process import REPO, Process
from starter.responder import Responder
from tests.kit.sglang_environment import sglang_environment

ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Threads of a small model only wait for each other, where two engines share two cores. Libraries
read it when they are imported, so that it is the same for all forks.
"""

_PR_SET_CHILD_SUBREAPER: Final = 36
_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl
_one_at_a_time: Final = Lock()


class Program(TypedDict):
    """What Python would be given, all of its variables, and files for its input and output."""

    argv: list[str]
    stdin: str
    out: str
    err: str
    environment: dict[str, str]


class ForkedChild:
    """A child of this process that it has not started itself; used as a subprocess.Popen is.

    Attributes:
        pid: its process id.
        returncode: once it is known to have ended; the negative number of a signal that ended it.
    """

    def __init__(self, args: Sequence[str], pid: int) -> None:
        self.args = args
        self.pid = pid
        self.returncode: int | None = None
        self._reaping = Lock()

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        with self._reaping:
            if self.returncode is None:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                if ended:
                    self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended; any thread may wait.

        Raises:
            subprocess.TimeoutExpired: it had not ended within `timeout` seconds.
        """
        with self._reaping:
            descriptor = os.pidfd_open(self.pid) if self.returncode is None else None
        if descriptor is not None:
            try:
                end = select.poll()
                end.register(descriptor, select.POLLIN)
                end.poll(None if timeout is None else timeout * 1000)
            finally:
                os.close(descriptor)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)


def start_light(
    command: Sequence[object],
    log: Path,
    *,
    name: str = "",
    environment: Mapping[str, str] | None = None,
) -> Process:
    """As starter.process.start, for a command `python -m MODULE …` of a frontend or a simulated
    worker, in a fork; /proc tells the prepared process's command line for it.

    Variables that only count while modules are imported count for nothing.
    """
    python, *argv = [str(word) for word in command]
    assert (python, argv[0]) == (sys.executable, "-m")
    return _logged(_prepared_light(), argv, log, {**os.environ, **(environment or {})}, name)


def start_with_sglang(argv: Sequence[object], log: Path, environment: Mapping[str, str]) -> Process:
    """`python ARGV` in a session of its own, with nothing to read and its output in a log."""
    words = [str(word) for word in argv]
    return _logged(_prepared_sglang(), words, log, _with_sglang(environment))


def run_with_sglang(*argv: Any, given: str = "") -> "subprocess.CompletedProcess[str]":
    """As subprocess.run, of `python ARGV` with a text to read."""
    with tempfile.TemporaryDirectory() as directory:
        stdin, out, err = (Path(directory) / name for name in ("in", "out", "err"))
        stdin.write_text(given)
        asked: Program = {
            "argv": [str(word) for word in argv],
            "stdin": str(stdin),
            "out": str(out),
            "err": str(err),
            "environment": _with_sglang({}),
        }
        status = _fork(_prepared_sglang(), asked).wait()
        return subprocess.CompletedProcess(argv, status, out.read_text(), err.read_text())


def _logged(
    prepared: Responder, argv: list[str], log: Path, environment: dict[str, str], name: str = ""
) -> Process:
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    told = str(log.absolute())
    asked: Program = {
        "argv": argv,
        "stdin": os.devnull,
        "out": told,
        "err": told,
        "environment": environment,
    }
    return Process(name or log.stem, _fork(prepared, asked), log)


def _fork(prepared: Responder, asked: Program) -> ForkedChild:
    """Begin a program.

    Raises:
        RuntimeError: the prepared process has ended; the text has the end of its log.
    """
    with _one_at_a_time:
        # Only meanwhile, so that no test's own orphans come here.
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        try:
            pid = int(prepared.ask(json.dumps(asked)))
        finally:
            _prctl(_PR_SET_CHILD_SUBREAPER, 0)
    return ForkedChild(asked["argv"], pid)


def _with_sglang(more: Mapping[str, str]) -> dict[str, str]:
    """What a program with SGLang finds in its environment in tests."""
    return {**os.environ, **ONE_THREAD, **sglang_environment(), "PYTHONPATH": str(REPO), **more}


@cache
def _prepared_light() -> Responder:
    # numpy's threads would be lost in forks
    return _prepared("light", {"OPENBLAS_NUM_THREADS": "1"})


@cache
def _prepared_sglang() -> Responder:
    return _prepared("sglang", _with_sglang({}))


def _prepared(imported: str, environment: Mapping[str, str]) -> Responder:
    """It ends with this process, however that ends, since its input does."""
    log = Path(tempfile.mkdtemp(prefix="prepared-")) / f"{imported}.log"
    responder = Responder(
        [sys.executable, "-m", "tests.kit.prepared", imported], log=log, environment=environment
    )
    atexit.register(responder.close)
    return responder
