"""A frontend that tells how long its loop stood still: `python -m tests.security.probed_frontend
FILE ARGUMENTS OF THE FRONTEND`.

FILE holds three float64 that a reader may set back to 0: the longest pause of the loop in wall time
of which this process was computing (what other processes took of the machine is left out), the same
in CPU time of the loop's thread alone, and how often it was looked.
"""

import asyncio
import mmap
import os
import struct
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Final

from frontend import app
from frontend.api import application
from frontend.http import body_budget, incoming_body

TICK_S: Final = 0.005
FORM: Final = struct.Struct("<3d")


def make_file(path: Path) -> None:
    """The file with no pause in it."""
    path.write_bytes(FORM.pack(0, 0, 0))


def read_pauses(path: Path) -> tuple[float, float, float]:
    """The pauses since the file was made or set back, in seconds, and the ticks."""
    return FORM.unpack(path.read_bytes())


async def probe(pauses: mmap.mmap) -> None:
    """Never returns."""
    assert threading.current_thread() is threading.main_thread()
    while True:
        wall, process, own = time.monotonic(), time.process_time(), time.thread_time()
        await asyncio.sleep(TICK_S)
        late = min(time.monotonic() - wall - TICK_S, time.process_time() - process)
        longest, longest_own, ticks = FORM.unpack(pauses[: FORM.size])
        pauses[: FORM.size] = FORM.pack(
            max(longest, late), max(longest_own, time.thread_time() - own), ticks + 1
        )


def main() -> None:
    """As the frontend, with a probe in its loop."""
    from frontend import __main__ as program  # noqa: PLC0415 - after the path was taken from the arguments

    path = Path(sys.argv.pop(1))
    file = path.open("r+b")
    pauses = mmap.mmap(file.fileno(), FORM.size)
    if "PROBED_BODIES_BYTES" in os.environ:  # a budget that a test can fill
        application.BodyBudget = partial(
            body_budget.BodyBudget, int(os.environ["PROBED_BODIES_BYTES"])
        )
    incoming_body.PROGRESS_S_MAX = float(
        os.environ.get("PROBED_PROGRESS_S", incoming_body.PROGRESS_S_MAX)
    )
    serve = app.serve

    async def serve_probed(settings: object) -> None:
        probing = asyncio.create_task(probe(pauses))
        try:
            await serve(settings)  # type: ignore[arg-type]
        finally:
            probing.cancel()

    program.serve = serve_probed  # type: ignore[attr-defined]
    program.main()


if __name__ == "__main__":
    main()
