"""Reads a frontend's status as its page does: events over one connection."""

import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from types import TracebackType
from typing import Any, Self


class StatusFeed:
    """A StatusFeed is one watcher; as a context manager, one that leaves in the end."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.request("GET", "/status/events")
        self.answer: HTTPResponse = self._connection.getresponse()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.answer.close()
        self._connection.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Snapshots as they come, until the frontend ends the feed."""
        for line in self.answer:
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first snapshot of which that is true; the test's own timeout bounds the wait."""
        return next(snapshot for snapshot in self if condition(snapshot))
