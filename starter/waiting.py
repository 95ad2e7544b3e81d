"""Waiting for what processes do; there is no event to await across them."""

import time
from collections.abc import Callable, Collection
from typing import Final

from starter.process import Process

READY_S_MAX: Final = 60.0
"""A simulated worker is up in 2 s on an idle machine, later where two cores have much to do."""

_PAUSE_S: Final = 0.05


class NotReady(RuntimeError):
    """What was awaited did not come; the text has the end of every process's log."""


def wait_until(
    condition: Callable[[], bool],
    what: str,
    processes: Collection[Process] = (),
    *,
    wait_s_max: float = READY_S_MAX,
    may_end: Collection[int] = (),
) -> None:
    """Ask for a condition 20 times a second until it holds; an OSError in it means not yet.

    Args:
        what: told in errors.
        processes: all that must run meanwhile, and whose logs explain a failure.
        may_end: exit codes that end no waiting.
    Raises:
        NotReady: time is up, or one of the processes ended with another code.
    """
    deadline = time.monotonic() + wait_s_max
    while not _holds(condition):
        for process in processes:
            if process.popen.poll() not in (None, *may_end):
                ended = f"{process.name} ended with {process.popen.returncode}"
                raise NotReady(_told(f"{what}: {ended}", processes))
        if time.monotonic() > deadline:
            raise NotReady(_told(f"not within {wait_s_max:g} s: {what}", processes))
        time.sleep(_PAUSE_S)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except OSError:
        return False


def _told(what: str, processes: Collection[Process]) -> str:
    return "\n".join([what, *(process.last_words() for process in processes)])
