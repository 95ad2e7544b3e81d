"""Builds the load generator and the bare server with gcc where their sources are newer than the
programs.
"""

import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
FLAGS = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]


def build(name: str) -> Path:
    """Path of the program `name` ("loadgen" or "bare_server"), built if need be.

    Raises RuntimeError with gcc's words.
    """
    program, source = FOLDER / name, FOLDER / f"{name}.c"
    newest = max(path.stat().st_mtime for path in (source, *FOLDER.glob("*.h")))
    if program.exists() and program.stat().st_mtime >= newest:
        return program
    fresh = FOLDER / f"{name}.new"
    done = subprocess.run(
        ["gcc", *FLAGS, "-o", str(fresh), str(source), "-lm"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"gcc could not build {source}:\n{done.stderr}")
    return fresh.rename(program)  # in one step: a running program is never written over


if __name__ == "__main__":
    print(build("loadgen"), build("bare_server"))
