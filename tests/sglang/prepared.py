"""Run as a program: has imported SGLang, and runs other programs in forks of itself, since the
import takes ten seconds.

In: a line of JSON for each, {"argv": what Python would be given, "stdin": a short text, "out": and
"err": files}. Out: the exit status, a line for each. Nothing has used torch by then, so that no
thread is lost in a fork.
"""

import gc
import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import NoReturn

gc.disable()

from workers.sglang.cpu import activate_if_cpu_host  # noqa: E402

activate_if_cpu_host()

import sglang.srt.entrypoints.engine  # noqa: E402, F401

gc.freeze()


def main() -> None:
    """Until stdin ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            run(**asked)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def run(argv: list[str], stdin: str, out: str, err: str) -> NoReturn:
    """What `python ARGV` does, and the end of this process."""
    reader, writer = os.pipe()
    os.write(writer, stdin.encode())
    os.close(writer)
    os.dup2(reader, 0)
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    code = 0
    try:
        program, *_ = argv
        if program == "-c":
            sys.argv = ["-c", *argv[2:]]
            exec(argv[1], {"__name__": "__main__"})
        else:
            sys.argv = argv
            sys.path.insert(0, str(Path(program).parent))
            runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the end of this process, as Python's would be
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
