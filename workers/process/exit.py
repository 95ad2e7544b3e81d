"""A process that has given everything back is ended at once."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

from protocol.process.last_spans import send_last_of_others


def leave_process(code: int) -> NoReturn:
    """Runs what was registered for the exit and ends at once, as multiprocessing does with the
    processes that it forks.

    An interpreter that has imported torch takes itself apart for two seconds otherwise, while
    somebody waits for it to end.
    """
    send_last_of_others()
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]  # there is no public name for it
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)
