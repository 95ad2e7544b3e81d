"""Writes log records as JSON, an object a line, for whoever collects logs."""

import logging
import re
import time
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Matches what ends lines, what terminals obey, and what turns the direction of text; tabs are
harmless.
"""

_encode = msgspec.json.Encoder(enc_hook=str).encode


@runtime_checkable
class Fielded(Protocol):
    """A Fielded is a log message that can also be told as fields."""

    def fields(self) -> dict[str, Any]:
        """Returns what the message says, by name."""
        ...


class JsonLines(logging.Formatter):
    """A JsonLines writes each record as one object: time, level, target and message, as the
    reference product names them, then the message's own fields, and a traceback as `exception`.
    """

    _second = -1
    _second_text = ""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record as one line of JSON."""
        line: dict[str, Any] = {
            "time": self._time(record.created),
            "level": record.levelname,
            "target": record.name,
        }
        if isinstance(record.msg, Fielded):
            line |= record.msg.fields()
        else:
            line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = _encode(line).decode()
        return text if text.isprintable() else CONTROL.sub(_escaped, text)

    def _time(self, unix_s: float) -> str:
        second = int(unix_s)
        if second != self._second:
            self._second_text, self._second = (
                time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)),
                second,
            )
        return f"{self._second_text}.{int((unix_s - second) * 1e6):06d}Z"


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
