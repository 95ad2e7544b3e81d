"""Run as a program: has imported SGLang, and runs other programs in forks of itself, since the
import takes eleven seconds.

In: a line of JSON for each, `Program` of tests/kit/forks.py. Out: {"pid"} when it has begun, and
{"pid", "status"} when it has ended. Nothing has used torch by then, so that no thread is lost in a
fork.
"""

import gc
import json
import os
import runpy
import select
import signal
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

gc.disable()

from workers.sglang.cpu import activate_if_cpu_host  # noqa: E402

activate_if_cpu_host()

import sglang.srt.entrypoints.engine  # noqa: E402, F401

gc.freeze()


def main() -> None:
    """Until stdin ends, and with it what still runs: nobody is left who would end it."""
    running: dict[int, int] = {}
    waiting, rest = select.poll(), b""
    waiting.register(0, select.POLLIN)
    while True:
        for ready, _ in waiting.poll():
            if ready != 0:
                waiting.unregister(ready)
                os.close(ready)
                pid = running.pop(ready)
                tell(pid=pid, status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                continue
            if not (read := os.read(0, 1 << 16)):
                for pid in running.values():
                    with suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                return
            *asked, rest = (rest + read).split(b"\n")
            for line in asked:
                pid = os.fork()
                if pid == 0:
                    for each in running:
                        os.close(each)
                    run(**json.loads(line))
                running[end := os.pidfd_open(pid)] = pid
                waiting.register(end, select.POLLIN)


def tell(**facts: int) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


def run(argv: list[str], stdin: str, out: str, err: str, environment: dict[str, str]) -> NoReturn:
    """What `python ARGV` does in a session of its own, and the end of this process."""
    os.setsid()
    tell(pid=os.getpid())
    written = os.O_WRONLY | os.O_CREAT | os.O_APPEND  # both may be one file
    for number, path, way in ((0, stdin, os.O_RDONLY), (1, out, written), (2, err, written)):
        file = os.open(path, way, 0o600)
        os.dup2(file, number)
        os.close(file)
    for name, value in environment.items():
        if os.environ.get(name) != value:  # setproctitle finds its memory by what is left as it is
            os.environ[name] = value
    gc.enable()
    code = 0
    try:
        execute(argv)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - the end of this process, as Python's would be
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def execute(argv: list[str]) -> None:
    """`-c TEXT …`, `-m MODULE …` or `FILE …`, as Python takes them."""
    program, *rest = argv
    match program:
        case "-c":
            sys.argv = ["-c", *rest[1:]]
            exec(rest[0], {"__name__": "__main__"})
        case "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        case _:
            sys.argv = argv
            sys.path.insert(0, os.path.dirname(program))  # noqa: PTH120 - Python's own words
            runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
