"""Programs of our own that a process starts beside itself and talks to."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process


async def started(module: str) -> Process:
    """A module, run as a program by this interpreter and with the modules that this process has.

    Its stdin and stdout are pipes; its stderr is ours.

    Raises:
        OSError: no process can be started.
    """
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=PIPE,
        stdout=PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)) or os.curdir},
    )
