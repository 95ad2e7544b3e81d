"""A process that answers lines with lines, over its pipes."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Self

from starter.process import LAST_WORDS, REPO


class Responder:
    """A started program that answers each line with one, and ends when its input does; as a context
    manager, one that is closed in the end.

    Args:
        command: words, each of which is told by its text.
        log: takes what it writes to its error stream, which otherwise is this process's own;
            written anew, and its folder is made.
        environment: variables on top of this process's own.
    Raises:
        OSError: there is no such program.
    """

    def __init__(
        self,
        command: Sequence[object],
        *,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log = log
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        with nullcontext() if log is None else log.open("wb") as errors:
            self.popen = subprocess.Popen(
                [str(word) for word in command],
                cwd=REPO,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, line: str) -> str:
        """The answer to a line; neither has an end of line.

        Raises:
            RuntimeError: the program ended instead.
        """
        assert self.popen.stdin is not None
        with suppress(BrokenPipeError):  # what it wrote before its end is still to be read
            self.popen.stdin.write(line + "\n")
            self.popen.stdin.flush()
        return self.answer()

    def answer(self) -> str:
        """The next line that the program writes.

        Raises:
            RuntimeError: the program ended instead; the text has the end of its log.
        """
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            said = "" if self._log is None else self._log.read_text(errors="replace")
            raise RuntimeError(f"{self.popen.args} ended\n{said[-LAST_WORDS:]}")
        return line.rstrip("\n")

    def close(self, wait_s_max: float = 60.0) -> None:
        """End the program's input and await its end, or kill its group when time is up."""
        try:
            self.popen.communicate(timeout=wait_s_max)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.communicate()
