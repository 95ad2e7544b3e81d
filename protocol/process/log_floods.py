"""Keeps what strangers can cause as often as they like from filling the log: one line of a kind a
minute, with their number.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

SAID_EVERY_S: Final = 60.0

HTTP_SERVER_LOGGER: Final = "uvicorn.error"
"""Names uvicorn's logger, which warns of every request that is none, with some few constant texts.
"""


class Complaint:
    """A Complaint says one thing at most once in a while, however often it comes.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float], every_s: float = SAID_EVERY_S) -> None:
        self._clock = clock
        self._every_s = every_s
        self._said_at = -every_s
        self._times = 0

    def due(self) -> int:
        """Counts the event and returns how often it came since it was last said, this time
        included; 0 if it is not to be said yet.
        """
        self._times += 1
        now = self._clock()
        if now - self._said_at < self._every_s:
            return 0
        times, self._said_at, self._times = self._times, now, 0
        return times


class OnceAMinute(logging.Filter):
    """An OnceAMinute lets the first of each warning pass, and then one a minute, for a logger whose
    warnings are constant texts.

    Args:
        errors_too: treats what is worse than a warning alike.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, errors_too: bool = False
    ) -> None:
        super().__init__()
        self._clock = clock
        self._worst = logging.ERROR if errors_too else logging.WARNING
        self._seen: dict[str, tuple[float, int]] = {}
        """Maps a text to when it was last said, in seconds, and how often it came since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether the record is to be logged, and adds to it how many were not."""
        if not logging.WARNING <= record.levelno <= self._worst:
            return True
        text, now = str(record.msg), self._clock()
        said_at, unsaid = self._seen.get(text, (now - SAID_EVERY_S, 0))
        if now - said_at < SAID_EVERY_S:
            self._seen[text] = said_at, unsaid + 1
            return False
        self._seen[text] = now, 0
        if unsaid:
            record.msg = f"{text} ({unsaid} more since this was last said)"
        return True


def quieten_http_server() -> None:
    """Has uvicorn's warnings logged once a minute; a process that runs an HTTP server calls it
    once.
    """
    logging.getLogger(HTTP_SERVER_LOGGER).addFilter(OnceAMinute())
