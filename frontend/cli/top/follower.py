"""Follows the events of a frontend's status, over restarts of it, in a thread."""

import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from frontend.cli.direct_http import UNREACHABLE, error_message, open_url
from frontend.cli.top.seen import Seen
from frontend.status.snapshot import Snapshot

SILENCE_S_MAX: Final = 5.0
"""Bounds the time between two events, of which there is one a second."""

AGAIN_S: Final = 1.0
"""Is the time until a frontend that does not answer is asked again."""

EVENT_BYTES_MAX: Final = 16 * 2**20
"""Bounds one event, so that no server fills the memory: two hundred workers take 60 KB."""

decode: Final = msgspec.json.Decoder(Snapshot).decode


class Follower:
    """A Follower keeps what is seen of a frontend up to date.

    Args:
        url: of the frontend, without a path.
        on_news: is told, in the follower's thread, that there is something new.
    """

    def __init__(self, url: str, on_news: Callable[[], None]) -> None:
        self._url = url
        self._on_news = on_news
        self._lock = threading.Lock()
        self._seen = Seen(problem="connecting", problem_since=time.monotonic())

    def start(self) -> None:
        """Begins to follow, until the process ends."""
        threading.Thread(target=self._follow, name="follower", daemon=True).start()

    def look(self) -> Seen:
        """Returns what is seen now, which stays as it is."""
        with self._lock:
            seen = self._seen
            return Seen(seen.snapshot, seen.points.copy(), seen.problem, seen.problem_since)

    def _follow(self) -> None:
        while True:
            try:
                with open_url(f"{self._url}/status/events", timeout_s=SILENCE_S_MAX) as events:
                    for snapshot in snapshots(events):
                        with self._lock:
                            self._seen.take(snapshot)
                        self._on_news()
                why = "it ended the connection"
            except urllib.error.HTTPError as error:
                with error:
                    why = error_message(error)
            except msgspec.DecodeError:
                why = "what answers is no frontend of this version"
            except UNREACHABLE as error:
                why = reason(error)
            with self._lock:
                self._seen.tell_problem(why, time.monotonic())
            self._on_news()
            time.sleep(AGAIN_S)


def snapshots(events: Any) -> Iterator[Snapshot]:
    """Yields the snapshots of a stream of events.

    Raises:
        msgspec.DecodeError: what comes is none.
        UNREACHABLE: the stream breaks.
    """
    while line := events.readline(EVENT_BYTES_MAX):
        if line.startswith(b"data:"):
            yield decode(line[5:])


def reason(error: Exception) -> str:
    """Returns in a few words why nobody could be asked."""
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
