"""Run as a program: has imported what `python -m frontend` and `python -m workers --engine sim`
import, and runs them in forks of itself, since the imports take most of a start.

In: a line of JSON for each, {"module": what stands after `-m`, "arguments": words, "environment":
all variables, "log": a file that exists}. Out: the process id, a line for each, when the fork leads
a session of its own.

A fork is made by a fork that ends at once, so that it becomes the child of whoever asked, where
that process adopts orphans (light_forks.py); it is killed with that process.
"""

import ctypes
import gc
import json
import os
import runpy
import signal
import sys
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Final

_IMPORTED: Final = (
    "frontend.app",
    "frontend.inflight.request_log",
    "workers.app",
    "workers.process.exit",
    "workers.sim.engine",
    "pydantic.v1",  # by FastAPI, for the first route
    "fastokens",  # by the first tokenizer, where there is one
)

_PR_SET_PDEATHSIG: Final = 1
_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl


def main() -> None:
    """Until stdin ends; in a fork, as long as what it runs."""
    asker = os.getppid()
    gc.disable()
    for name in _IMPORTED:
        with suppress(ModuleNotFoundError) if name == "fastokens" else nullcontext():
            import_module(name)
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "a fork would lack the other threads"
    gc.freeze()
    for line in sys.stdin:
        if _in_fork():
            become(asker, **json.loads(line))
            return


def _in_fork() -> bool:
    """True in a fork whose parent has ended, false in this process."""
    reader, writer = os.pipe()
    if (between := os.fork()) == 0:
        if os.fork() != 0:
            os._exit(0)
        os.close(writer)
        os.read(reader, 1)  # nothing but the end, once `between` is gone
        return True
    os.waitpid(between, 0)
    os.close(reader)
    os.close(writer)
    return False


def become(
    asker: int, module: str, arguments: list[str], environment: dict[str, str], log: str
) -> None:
    """What `python -m MODULE ARGUMENTS` does; raises SystemExit where that does."""
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    assert os.getppid() == asker, "whoever asked is gone, or adopts no orphans"
    os.write(1, b"%d\n" % os.getpid())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(Path(log), os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-m", *arguments]
    gc.enable()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
