"""The first process of an engine to fail leaves a note of what it said, for the process that waits
for them all.

SGLang's processes log what they die of and end; whoever waits for them learns an exit code. So they
also leave it in a memory file of the worker, which every process below it finds by its environment,
and which is gone with the worker.
"""

import os
from typing import Final

_VARIABLE: Final = "_KVMESH_FAILURE_NOTE"
"""This environment variable has the path of the note's file, under the /proc entry of the worker.

No setting: a worker sets it for its own processes.
"""

NOTE_CHARS_MAX: Final = 600
"""An error that is told in one line has at most this many characters.

Some end in a whole configuration, and some say what to do at their end.
"""


def one_line(error: BaseException) -> str:
    """Returns all of an error's text in one line, for the terminal and for clients.

    Of a very long one its beginning and its end.
    """
    line = " ".join(str(error).split()) or type(error).__name__
    half = NOTE_CHARS_MAX // 2
    return line if len(line) <= NOTE_CHARS_MAX else f"{line[:half]} … {line[-half:]}"


class FailureNote:
    """A FailureNote is the memory file into which an engine's processes write. There is one for a
    worker's life.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("failure-note")
        os.environ[_VARIABLE] = f"/proc/{os.getpid()}/fd/{self._file}"

    def read(self) -> str:
        """Returns the first failure in one line; empty if there was none."""
        return os.pread(self._file, 4 * NOTE_CHARS_MAX, 0).decode(errors="replace")


def leave_failure_note(error: BaseException) -> None:
    """Notes, in a process of the engine, what it fails of.

    Only the first is kept: others fail since they miss the first.
    """
    words = f"{type(error).__name__}: {one_line(error)}"
    try:
        with open(os.environ[_VARIABLE], "r+b", buffering=0) as file:  # noqa: PTH123  # a path without a name
            if not file.read(1):
                file.write(words.encode(errors="replace"))
    except (OSError, KeyError):
        return  # no worker of ours started it, or it is gone
