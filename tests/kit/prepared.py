"""Run as a program, with the name of what it imports: runs other programs in forks of itself, since
imports take most of their start. `light`: what `python -m frontend` and `python -m workers --engine
sim` import, one to two seconds of it; `sglang`: SGLang and torch, eleven.

In: a line of JSON for each, `Program` of tests/kit/forks.py. Out: the process id, a line for each,
when the fork leads a session of its own. Nothing has used torch by then, so that no thread is lost
in a fork.

A fork is made by a fork that ends at once, so that it becomes the child of whoever asked, where
that process adopts orphans (forks.py); it is killed with that process.
"""

import gc
import json
import os
import runpy
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Final

from protocol.process.parent_death import end_with_parent

_LIGHT: Final = (
    "frontend.app",
    "frontend.inflight.request_log",
    "workers.app",
    "workers.process.exit",
    "workers.sim.engine",
    "frontend.api.pages.app",  # for the first page
    "pydantic.v1",  # by FastAPI, for the first route
    "fastokens",  # by the first tokenizer, where there is one
)


def _import_light() -> None:
    for name in _LIGHT:
        with suppress(ModuleNotFoundError) if name == "fastokens" else nullcontext():
            import_module(name)
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "a fork would lack the other threads"


def _import_sglang() -> None:
    from workers.sglang.cpu import activate_if_cpu_host  # noqa: PLC0415

    activate_if_cpu_host()
    import_module("sglang.srt.entrypoints.engine")


_IMPORTS: Final[Mapping[str, Callable[[], None]]] = {
    "light": _import_light,
    "sglang": _import_sglang,
}


def main(imported: str) -> None:
    """Until stdin ends; in a fork, as long as what it runs."""
    asker, given = os.getppid(), set(os.environ)
    gc.disable()
    _IMPORTS[imported]()
    gc.freeze()
    for line in sys.stdin:
        if _in_fork():
            program = json.loads(line)
            # what the imports have set stays
            for name in given - program["environment"].keys():
                del os.environ[name]
            become(asker, **program)
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
    asker: int, argv: list[str], stdin: str, out: str, err: str, environment: dict[str, str]
) -> None:
    """What `python ARGV` does; raises what that raises."""
    os.setsid()
    assert end_with_parent(asker, signal.SIGKILL), "whoever asked is gone, or adopts no orphans"
    os.write(1, b"%d\n" % os.getpid())
    written = os.O_WRONLY | os.O_CREAT | os.O_APPEND  # both may be one file
    for number, path, way in ((0, stdin, os.O_RDONLY), (1, out, written), (2, err, written)):
        os.dup2(os.open(path, way, 0o600), number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    for name, value in environment.items():
        if os.environ.get(name) != value:  # setproctitle finds its memory by what is left as it is
            os.environ[name] = value
    gc.enable()
    _execute(argv)


def _execute(argv: list[str]) -> None:
    """`-c TEXT …`, `-m MODULE …` or `FILE …`, as Python takes them."""
    program, *rest = argv
    match program:
        case "-c":
            sys.argv = ["-c", *rest[1:]]
            exec(rest[0], {"__name__": "__main__"})
        case "-m":
            sys.argv = ["-m", *rest[1:]]
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        case _:
            sys.argv = argv
            sys.path.insert(0, os.path.dirname(program))  # noqa: PTH120 - Python's own words
            runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])
