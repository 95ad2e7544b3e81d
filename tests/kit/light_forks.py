"""Cheap starts of frontends and simulated workers: forks of a process that has imported them."""

import atexit
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Final

from starter.process import Process
from starter.responder import Responder

_PR_SET_CHILD_SUBREAPER: Final = 36
_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl
_one_at_a_time: Final = Lock()


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


def start_fork(
    command: Sequence[object],
    log: Path,
    *,
    name: str = "",
    environment: Mapping[str, str] | None = None,
) -> Process:
    """As starter.process.start, for a command `python -m MODULE …`, in a fork of the prepared
    process; /proc tells the prepared process's command line for it.

    Variables that only count while modules are imported count for nothing.
    """
    python, dash_m, module, *arguments = [str(word) for word in command]
    assert (python, dash_m) == (sys.executable, "-m")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    asked = {
        "module": module,
        "arguments": arguments,
        "environment": {**os.environ, **(environment or {})},
        "log": str(log.absolute()),
    }
    with _one_at_a_time:
        prepared = _prepared()
        # Only meanwhile, so that no test's own orphans come here.
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        try:
            pid = int(prepared.ask(json.dumps(asked)))
        finally:
            _prctl(_PR_SET_CHILD_SUBREAPER, 0)
    return Process(name or log.stem, ForkedChild([str(word) for word in command], pid), log)


@cache
def _prepared() -> Responder:
    """One for this process, from the first start on; it ends with this process, however that ends,
    since its input does.
    """
    responder = Responder(
        [sys.executable, "-m", "tests.kit.prepared_light"],
        environment={"OPENBLAS_NUM_THREADS": "1"},  # numpy's threads would be lost in forks
    )
    atexit.register(responder.close)
    return responder
