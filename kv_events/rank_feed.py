"""Keeps one rank's blocks equal to what its worker holds: counts the stream's numbers, asks for a
snapshot where one is missing.

Pure: time comes as an argument, questions go out through a callback. What cannot be made up leaves
the rank without blocks, so that it is routed to by load alone; it is never trusted half.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from kv_events.index import IndexOverfull, RankBlocks
from protocol.kv_stream import BlockBatch, Change, Cleared, Removed, Snapshot, Stored, unpack_hashes

HELD_MAX: Final = 4_096
"""Bounds the batches kept while a snapshot is on its way.

One that finds no room leaves a gap, and so another question.
"""

SNAPSHOT_S_MAX: Final = 2.0
"""Bounds the wait for a snapshot, of which one of a million blocks takes 0.1 s.

After this the rank's blocks are forgotten and the question is asked again.
"""

BEHIND_S_MAX: Final = 1.0
"""Bounds how long a stream may not have reached a number in a heartbeat; after that it was the lost
tail of a burst.
"""

OVERFULL_PAUSE_S: Final = 30.0
"""Is the pause before a rank that told of too many blocks is asked again."""


class FeedCounts:
    """FeedCounts counts what befell the rank feeds of this process, for metrics."""

    def __init__(self) -> None:
        self.batches = 0
        self.stored = self.removed = self.cleared = 0
        """Count the changes of each kind that were applied."""
        self.duplicates = 0
        self.gaps = 0
        self.snapshots = 0
        self.drops = 0
        """Counts how often a rank's blocks were forgotten since they could not be trusted."""


class RankFeed:
    """A RankFeed applies one rank's stream of batches and snapshots to its blocks.

    Args:
        ask: sends a SnapshotRequest for this rank.
    Attributes:
        current: whether the blocks are those of the stream's latest known number.
        engine_unix_s: when the engine published what was applied last; 0 before that.
    """

    def __init__(
        self, blocks: RankBlocks, ask: Callable[[], None], counts: FeedCounts, now: float
    ) -> None:
        self.blocks = blocks
        self.number = 0
        self.engine_unix_s = 0.0
        self._ask = ask
        self._counts = counts
        self._held: deque[BlockBatch] = deque()
        self._asked_at: float | None = None
        self._paused_until = 0.0
        self._awaited: tuple[int, float] | None = None
        """Holds a number that a heartbeat told, and when."""
        self._ask_for_snapshot(now)

    @property
    def current(self) -> bool:
        return self._asked_at is None and not self._paused_until

    @property
    def asks(self) -> bool:
        """Tells whether the feed waits for a snapshot."""
        return self._asked_at is not None

    def on_batch(self, batch: BlockBatch, now: float) -> None:
        """Applies a live batch, or holds it until a snapshot has come."""
        if self._paused_until:
            return
        if self._asked_at is not None:
            if len(self._held) < HELD_MAX:
                self._held.append(batch)
        elif batch.number == self.number + 1:
            self._apply(batch, now)
        elif batch.number <= self.number:
            self._counts.duplicates += 1
        else:
            self._counts.gaps += 1
            self._held.append(batch)
            self._ask_for_snapshot(now)

    def on_snapshot(self, snapshot: Snapshot, now: float) -> None:
        """Takes over a whole state, then what was held since."""
        if self._asked_at is None:
            return
        # a malformed one is no answer
        hashes = [unpack_hashes(packed) for packed in snapshot.hashes]
        self._asked_at = None
        self._counts.snapshots += 1
        try:
            self.blocks.replace(hashes)
        except IndexOverfull:
            self._pause(now)
            return
        self.number = snapshot.number
        held, self._held = self._held, deque()
        for batch in held:
            if batch.number > self.number:
                self.on_batch(batch, now)

    def on_number(self, number: int, now: float) -> None:
        """Takes the worker's word that its stream stands at `number`, and asks for a snapshot where
        that stays out of reach.
        """
        if self._awaited is not None and self.number >= self._awaited[0]:
            self._awaited = None
        if number <= self.number or not self.current:
            return
        if self._awaited is None:
            self._awaited = (number, now)
        elif now - self._awaited[1] > BEHIND_S_MAX:
            self._counts.gaps += 1
            self._ask_for_snapshot(now)

    def on_time(self, now: float) -> None:
        """Asks unanswered questions again; to be called every fraction of a second."""
        if self._asked_at is not None and now - self._asked_at > SNAPSHOT_S_MAX:
            self._drop()
            self._ask_for_snapshot(now)
        elif self._paused_until and now >= self._paused_until:
            self._paused_until = 0.0
            self._ask_for_snapshot(now)

    def _apply(self, batch: BlockBatch, now: float) -> None:
        try:
            for change in batch.changes:
                self._change(change)
        except IndexOverfull:
            self._pause(now)
        # Only now: a batch that turns out malformed half-way leaves a gap, and so a snapshot mends
        # it.
        self._counts.batches += 1
        self.number = batch.number
        self.engine_unix_s = batch.engine_unix_s

    def _change(self, change: Change) -> None:
        match change:
            case Stored():
                self.blocks.store(change.medium, unpack_hashes(change.hashes))
                self._counts.stored += 1
            case Removed():
                self.blocks.remove(change.medium, unpack_hashes(change.hashes))
                self._counts.removed += 1
            case Cleared():
                self.blocks.replace(())  # what was just routed there is still to be computed
                self._counts.cleared += 1

    def _ask_for_snapshot(self, now: float) -> None:
        self._asked_at = now
        self._awaited = None
        self._ask()

    def _pause(self, now: float) -> None:
        self._drop()
        self._paused_until = now + OVERFULL_PAUSE_S

    def _drop(self) -> None:
        if len(self.blocks):
            self.blocks.clear()
        self._counts.drops += 1
        self._held.clear()
