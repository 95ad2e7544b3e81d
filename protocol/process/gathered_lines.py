"""Writes the log lines of one turn of an event loop together: a system call for all of them, where
each request that ends has a line.
"""

import asyncio
import logging
from threading import get_ident
from typing import Final, TextIO

HELD_MAX: Final = 256
"""Bounds the lines that wait for the end of a turn, some 50 KB."""


class GatheredLines(logging.StreamHandler[TextIO]):
    """GatheredLines writes lines at once until it is told of a loop, and from then on those of a
    turn at its end.

    A warning, whatever is worse, and what other threads say leave at once, behind all that was said
    before.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._held: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._due = False

    def gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Gathers lines by the turns of this loop, which runs in this thread."""
        self._loop, self._thread = loop, get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a line, as logging has it; the handler's lock is held."""
        try:
            self._held.append(self.format(record))
            loop = self._loop
            if (
                loop is None
                or record.levelno >= logging.WARNING
                or len(self._held) >= HELD_MAX
                or get_ident() != self._thread
                or loop.is_closed()
            ):
                self.flush()
            elif not self._due:
                self._due = True
                loop.call_soon(self._end_turn)
        except Exception:  # noqa: BLE001 - as logging's own: what cannot be logged ends nothing
            self.handleError(record)

    def flush(self) -> None:
        """Writes all lines that wait; logging calls it at the end of the process, too."""
        self.acquire()
        try:
            if self._held:
                lines, self._held = self._held, []
                self.stream.write("\n".join(lines) + self.terminator)
            self.stream.flush()
        finally:
            self.release()

    def _end_turn(self) -> None:
        self._due = False
        try:
            self.flush()
        except OSError:
            self.handleError(logging.makeLogRecord({}))


def gather_lines(loop: asyncio.AbstractEventLoop) -> None:
    """Has what a process writes of its log be gathered by the turns of this loop."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, GatheredLines):
            handler.gather(loop)
