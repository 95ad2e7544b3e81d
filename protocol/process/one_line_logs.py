"""Writes log lines that nobody forges: a message stays one line and moves no cursor, whatever names
and reasons of others it quotes.
"""

import logging
import re
import sys
import time

from protocol.process.gathered_lines import GatheredLines
from protocol.process.json_lines import CONTROL, JsonLines


class OneLine(logging.Formatter):
    """A OneLine writes each log message on one line; tracebacks, which are our own, keep their
    lines.

    Every request makes a line, so what is most of its cost is spared: looking for each of the
    characters where there are none, and asking the calendar more than once a second.
    """

    _second = -1
    _second_text = ""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the log line, and what was raised behind it; its handler's lock is held."""
        record.message = record.getMessage()
        if record.exc_info or record.exc_text or record.stack_info:
            return super().format(record)
        return self.formatMessage(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Returns the log line with its control characters written as escapes."""
        message = record.message
        if not message.isprintable():  # none of those is
            message = CONTROL.sub(_escaped, message)
        return f"{self._time(record)} {record.levelname[0]} {record.name}: {message}"

    def _time(self, record: logging.LogRecord) -> str:
        """Returns the local time with milliseconds, as logging's own does."""
        second = int(record.created)
        if second != self._second:
            self._second_text, self._second = (
                time.strftime(self.default_time_format, time.localtime(second)),
                second,
            )
        return f"{self._second_text},{int(record.msecs):03d}"


def log_to_stderr(level: str, *, as_json: bool = False) -> None:
    """Sends log records of at least this level to stderr, a line each."""
    handler = GatheredLines(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else OneLine())
    logging.basicConfig(level=level.upper(), handlers=[handler])


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
