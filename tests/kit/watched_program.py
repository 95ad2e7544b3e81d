"""A program of ours that tells what blocked its loop: `python -m tests.kit.watched_program FILE
MODULE ARGUMENTS`.

FILE gets a line for each call that blocked, as it is made.
"""

import runpy
import sys
from pathlib import Path

from tests.kit.blocking import Blocked


def main() -> None:
    """As `python -m MODULE ARGUMENTS`."""
    _, file, module, *_ = sys.argv
    del sys.argv[:2]
    with Path(file).open("a", buffering=1) as told:
        print("watched", file=told)
        Blocked(lambda line: print(line, file=told)).watch()
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
