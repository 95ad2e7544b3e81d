"""The end of processes, children or not, is noticed within milliseconds through their pidfds (Linux
5.3).
"""

import asyncio
import os
from collections.abc import Callable, Mapping

OnExit = Callable[[str, int | None], None]
"""An OnExit is told the name that a process was watched under and how it ended: its exit code,
minus the signal that killed it, or None if nobody knows.
"""


class ProcessWatch:
    """A ProcessWatch calls `on_exit` on the running loop, once for each watched process that ends.

    It reaps nothing: whoever started a process still learns its exit code.
    """

    def __init__(self, on_exit: OnExit) -> None:
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._names: dict[int, str] = {}
        """Each pidfd of a process that still runs is mapped to its name."""

    def add(self, processes: Mapping[int, str]) -> None:
        """Watches processes, given as pid → name.

        One that is gone already is reported in a later turn of the loop.
        """
        for pid, name in processes.items():
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                self._loop.call_soon(self._on_exit, name, None)
                continue
            self._names[pidfd] = name
            self._loop.add_reader(pidfd, self._ended, pidfd)

    def close(self) -> None:
        """Watches nothing any more."""
        for pidfd in list(self._names):
            self._forget(pidfd)

    def _ended(self, pidfd: int) -> None:
        code = _exit_code(pidfd)
        self._on_exit(self._forget(pidfd), code)

    def _forget(self, pidfd: int) -> str:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        return self._names.pop(pidfd)


def in_words(code: int | None) -> str:
    """Returns what became of a process, as the end of a sentence about it."""
    if code is None:
        return "ended"
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _exit_code(pidfd: int) -> int | None:
    """Returns how a process ended; None for one that is no child of ours or was reaped by somebody
    else.
    """
    try:
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
