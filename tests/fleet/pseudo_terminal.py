"""A program at a terminal of its own: what it shows, keys, another size, and what it leaves."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from starter.waiting import wait_until

ENTERED: Final = b"\x1b[?1049h"
LEFT: Final = b"\x1b[?1049l"
CURSOR_SHOWN: Final = b"\x1b[?25h"

_sequence: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A program that leads a session at a pseudo-terminal.

    Attributes:
        said: all that it wrote so far.
    """

    def __init__(
        self, command: Sequence[str], columns: int, lines: int, env: Mapping[str, str]
    ) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(columns, lines)
        self._theirs = theirs
        self.modes_before = self.modes()
        self.said = b""
        self.popen = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - a call of the kernel
            env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", **env},
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def modes(self) -> list[Any]:
        """The terminal's modes, which a program changes and must leave as they were."""
        return termios.tcgetattr(self._ours)

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size; the kernel tells the program."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._ours, keys)

    def frame(self) -> list[str]:
        """The lines of the latest whole picture, without colours."""
        pictures = self.said.split(b"\x1b[H")
        text = pictures[-2 if len(pictures) > 2 else -1].decode(errors="replace")
        return _sequence.sub("", text).replace("\r", "").split("\n")

    def shows(self, words: str) -> bool:
        """Whether words stand in that picture."""
        return any(words in line for line in self.frame())

    def wait_for(self, words: str) -> None:
        """Wait until words are shown.

        Raises:
            NotReady: they are not.
        """
        wait_until(lambda: self.shows(words), f"{words!r} is shown")

    def end(self, wait_s_max: float = 30.0) -> int:
        """Wait for its end, and return the exit code; killed if it does not come."""
        try:
            return self.popen.wait(wait_s_max)
        finally:
            if self.popen.poll() is None:
                self.popen.kill()
                self.popen.wait()

    def close(self) -> None:
        """End the program, and the terminal."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        os.close(self._theirs)
        self._reading.join()
        os.close(self._ours)

    def _read(self) -> None:
        while True:
            try:
                said = os.read(self._ours, 65536)
            except OSError:  # nobody has the other end any more
                return
            self.said += said


@contextmanager
def terminal(
    command: Sequence[str], *, columns: int = 120, lines: int = 40, env: Mapping[str, str]
) -> Iterator[Terminal]:
    """A program at a terminal of so many columns and lines."""
    running = Terminal(command, columns, lines, env)
    try:
        yield running
    finally:
        running.close()
