"""Log lines that nobody forges: a message stays one line and moves no cursor, whatever names and
reasons of others it quotes.
"""

import logging
import re
import sys
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What ends lines, what terminals obey, and what turns the direction of text; tabs are harmless."""


class OneLine(logging.Formatter):
    """Tracebacks, which are our own, keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line, with control characters written as escapes."""
        record.message = _CONTROL.sub(_escaped, record.message)
        return super().formatMessage(record)


def log_to_stderr(level: str) -> None:
    """Send what is at least of this level to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
