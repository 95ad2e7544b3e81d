"""Which core a process runs on."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

CORES: Final = sorted(os.sched_getaffinity(0))
"""Those that this process may use."""


def keep_to(number: int, pid: int) -> None:
    """Has all threads of a process, and what they start from now on, run on the one of this
    process's cores that has this number, counted round.

    Left to itself the kernel now and then puts a frontend and its worker on one core, where each
    does much at once and little of it costs what it costs elsewhere.
    """
    for entry in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has ended
            os.sched_setaffinity(int(entry.name), {CORES[number % len(CORES)]})
