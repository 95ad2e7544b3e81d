"""Raises how many files, and with them connections, the process may have open."""

import resource
from contextlib import suppress
from typing import Final

LOW: Final = 4_096
"""Is the number of open files below which a process soon uses them up: each client's connection
takes one, each worker a few.
"""


def raise_open_files() -> int:
    """Raises the soft limit of open files, often 1,024, to the hard one, and returns what holds
    then, a very large number where there is no limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems have a lower bound of their own
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else 2**63 - 1


def too_few(open_files: int) -> str:
    """Returns what is to be said at start of a low limit of open files; empty if it is not low."""
    return (
        ""
        if open_files >= LOW
        else (
            f"; at most {open_files} open files, so fewer clients at once: raise the limit "
            "(ulimit -n)"
        )
    )
