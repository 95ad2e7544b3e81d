"""One rank's numbered stream of what changes in its cache."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from kv_events.block_table import BlockTable
from kv_events.sglang_wire import Event
from protocol.errors import ProtocolViolation
from protocol.kv_stream import BlockBatch, Change, Snapshot
from protocol.process.log_floods import Complaint

log = logging.getLogger(__name__)

WAITING_MAX: Final = 1_024
"""Bounds the changes that wait for others: a batch of them costs no less a change than one of
more.
"""

COMPLAINTS_S: Final = 30.0
"""Is the time between two log lines about events that make no sense: an engine that writes one
writes many.
"""


class RankStream:
    """A RankStream is one rank's block table and the numbered stream of its changes: a
    `kv_events.engine_stream.Sink`.

    Args:
        publish: sends a batch.
        soon: is called when changes wait, and has `leave` called within a moment.
    """

    def __init__(
        self,
        stream_id: int,
        dp_rank: int,
        block_size_tokens: int,
        *,
        publish: Callable[[BlockBatch], None],
        soon: Callable[[], None],
    ) -> None:
        self._stream_id = stream_id
        self._dp_rank = dp_rank
        self._publish = publish
        self._soon = soon
        self.table = BlockTable(block_size_tokens)
        self.number = 0
        """Is the number of the last published batch; 0 before the first."""
        self._waiting: list[Change] = []
        """Holds changes of the table that were not told yet, no more than WAITING_MAX and those of
        one step of the engine.
        """
        self._waiting_since_unix_s = 0.0
        self._complaint = Complaint(time.monotonic, COMPLAINTS_S)

    def on_events(self, events: Sequence[Event], engine_unix_s: float) -> None:
        """Publishes what the events change in blocks, if anything."""
        changes: list[Change] = []
        for event in events:
            try:
                changes += self.table.apply(event)
            except ProtocolViolation as violation:
                # The rest of the rank's events may hang on this one: what they say is no longer
                # known to be true.
                if self._complaint.due():
                    said = violation.message
                    log.error("rank %d: %s; its blocks are forgotten", self._dp_rank, said)
                changes += self.table.clear()
        self._tell(changes, engine_unix_s)

    def on_lost(self) -> None:
        """Publishes that nothing is known of the rank."""
        self._tell(self.table.clear(), time.time())

    def snapshot(self) -> Snapshot:
        """Returns all that the rank holds now, and publishes what of it was not told yet."""
        self.leave()
        return Snapshot(self._stream_id, self._dp_rank, self.number, self.table.snapshot())

    def leave(self) -> None:
        """Publishes the changes that wait, in one batch."""
        if self._waiting:
            changes, self._waiting = self._waiting, []
            self.number += 1
            since_unix_s = self._waiting_since_unix_s
            self._publish(
                BlockBatch(self._stream_id, self._dp_rank, self.number, since_unix_s, changes)
            )

    def _tell(self, changes: list[Change], engine_unix_s: float) -> None:
        if not changes:
            return
        if not self._waiting:
            self._waiting_since_unix_s = engine_unix_s
        self._waiting += changes
        if len(self._waiting) > WAITING_MAX:
            self.leave()
        else:
            self._soon()
