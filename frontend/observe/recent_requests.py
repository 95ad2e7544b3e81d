"""Keeps the accounts of requests that ended a moment ago, for people who look."""

from collections import deque
from collections.abc import Callable
from typing import Final

from frontend.observe.request_record import RequestRecord

FINISHED_MAX: Final = 512
"""Bounds the records kept, some 1 KB each: what a page can show, and where one that was just slow
is found by its id.
"""

ERRORS_MAX: Final = 64
"""Bounds the failures kept beside them, which would else be pushed out by what goes well."""


class RecentRequests:
    """A RecentRequests holds the last records, and hands each new one on.

    Attributes:
        finished: the last requests that ended, however they did, oldest first.
        errors: the last of them that ended with an error that is not the client's leaving.
        listeners: each is called with every record, on the event loop, and must be quick.
    """

    def __init__(self) -> None:
        self.finished: deque[RequestRecord] = deque(maxlen=FINISHED_MAX)
        self.errors: deque[RequestRecord] = deque(maxlen=ERRORS_MAX)
        self.listeners: list[Callable[[RequestRecord], None]] = []

    def note(self, record: RequestRecord) -> None:
        """Keeps the record of a request that has ended."""
        self.finished.append(record)
        if record.error and record.error != "client_gone":
            self.errors.append(record)
        for listener in self.listeners:
            listener(record)

    def find(self, request_id: str) -> RequestRecord | None:
        """Returns the newest record that goes by this id, as its client was told it or as it goes
        by on the mesh; None where it is not kept.
        """
        return next(
            (
                record
                for record in reversed(self.finished)
                if request_id in (record.request_id, record.mesh_id)
            ),
            None,
        )
