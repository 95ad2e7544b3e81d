"""Brings one rank's KV events, as its engine publishes them, into order: duplicates dropped, gaps
replayed, restarts noticed.

ZMQ's PUB drops silently (high-water mark, a subscriber that came late), so nothing is believed
before it was counted. What cannot be had any more is said (`on_lost`): the rank's blocks are
unknown from there on.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import zmq
from msgspec import Struct

from kv_events.sglang_wire import (
    FRAMES,
    REPLAY_END,
    Event,
    EventBatch,
    decode_batch,
    decode_sequence,
    encode_sequence,
)
from protocol.errors import ProtocolViolation
from protocol.process.log_floods import Complaint
from protocol.transport.pump import SocketPump
from protocol.transport.sockets import Socket, asking_dealer, require_key, subscriber

log = logging.getLogger(__name__)

HELD_MAX: Final = 10_000
"""Bounds the live batches kept while a replay runs: as many as SGLang keeps for replays.

What is dropped here shows as the next gap.
"""

ENGINE_QUEUED_MAX: Final = 100_000
"""Is the high-water mark towards the engine, in messages, SGLang's own default on its side: on one
host memory is the only cost.
"""

REPLAY_S_MAX: Final = 5.0
"""Bounds a replay, after which it is asked for anew; SGLang answers within 0.1 s, between two
batches.
"""

PROBE_S: Final = 1.0
"""Is the silence after a batch that is used to ask whether it was the last: a lost tail leaves no
gap.
"""

IDLE_PROBE_S: Final = 30.0
"""Is the silence after which an engine is asked again whether there is more, while nothing
happens.
"""


class StreamAddress(Struct, frozen=True):
    """A StreamAddress says where one rank of an engine publishes its KV events and answers for
    replays.

    Without `replay` a gap costs all that is known of the rank.
    """

    dp_rank: int
    events: str
    replay: str | None


class StreamCounts:
    """StreamCounts counts what befell the engine streams of this process, for metrics."""

    def __init__(self) -> None:
        self.gaps = 0
        self.replays = 0
        self.losses = 0
        self.restarts = 0
        self.malformed = 0


class Sink(Protocol):
    """A Sink gets the KV events of one rank, in order."""

    def on_events(self, events: Sequence[Event], engine_unix_s: float) -> None:
        """Takes the events of the next batch."""
        ...

    def on_lost(self) -> None:
        """Takes the news that events are missing for good, or that the engine began anew: what was
        known holds no longer.
        """
        ...


class EngineStream:
    """An EngineStream subscribes to the KV events of one rank; `sink` gets every batch once and in
    order.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        address: StreamAddress,
        sink: Sink,
        counts: StreamCounts,
    ) -> None:
        self._context = context
        self._address = address
        self._sink = sink
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._complaint = Complaint(self._loop.time)
        self._expected = 0
        self._last_unix_s = 0.0
        """Is the engine's time of the batch applied last."""
        self._held: deque[tuple[int, EventBatch]] = deque()
        self._replay: SocketPump | None = None
        self._asked_for = 0
        """Is the number that was expected when the replay under way began."""
        self._replayed = 0
        self._timer: asyncio.TimerHandle | None = None
        for endpoint in (address.events, address.replay):
            if endpoint is not None:
                require_key(endpoint, None)
        socket = subscriber(context, None, messages_queued_max=ENGINE_QUEUED_MAX)
        socket.connect(address.events)
        self._live = SocketPump(socket, self._on_live)
        self._catch_up()

    def close(self) -> None:
        """Stops listening."""
        self._end_replay()
        self._wait(None)
        self._live.close()

    def _on_live(self, frames: list[bytes]) -> None:
        numbered = self._decoded(frames)
        if numbered is None:
            return
        if self._replay is not None or self._held:
            if len(self._held) < HELD_MAX:
                self._held.append(numbered)
            return
        self._wait(PROBE_S)
        self._take(*numbered)

    def _take(self, number: int, batch: EventBatch) -> bool:
        """Applies a live batch if it is its turn; returns False when a replay has to come first
        (the batch is held then).
        """
        if number == self._expected:
            self._apply(batch)
            return True
        if number < self._expected and batch.ts <= self._last_unix_s:
            return True  # seen before
        self._held.appendleft((number, batch))
        if number < self._expected:
            self._begin_anew()
        else:
            self._counts.gaps += 1
            self._catch_up()
        return False

    def _apply(self, batch: EventBatch) -> None:
        self._expected += 1
        self._last_unix_s = batch.ts
        try:
            self._sink.on_events(batch.events, batch.ts)
        except Exception:
            log.exception(
                "KV events %d of rank %d cannot be taken", self._expected - 1, self._address.dp_rank
            )
            self._counts.losses += 1
            self._sink.on_lost()  # half of them may have been

    def _begin_anew(self) -> None:
        log.info("the engine of rank %d counts its KV events anew", self._address.dp_rank)
        self._counts.restarts += 1
        self._expected = 0
        self._sink.on_lost()
        self._catch_up()

    def _catch_up(self) -> None:
        """Asks the engine for the batch applied last, which shows whether it still counts as
        before, and all since.
        """
        self._end_replay()
        if self._address.replay is None:
            self._skip_to_held()
            self._take_held()
            return
        self._counts.replays += 1
        self._asked_for, self._replayed = self._expected, 0
        self._replay = SocketPump(
            asking_dealer(self._context, self._address.replay, None), self._on_replayed
        )
        self._replay.send([b"", encode_sequence(max(0, self._expected - 1))])
        self._wait(REPLAY_S_MAX)

    def _on_replayed(self, frames: list[bytes]) -> None:
        if len(frames) == FRAMES + 1 and frames[2] == REPLAY_END:
            self._on_replay_end()
            return
        numbered = self._decoded(frames[1:])
        if numbered is None or self._replay is None:
            return
        number, batch = numbered
        self._replayed += 1
        if number > self._expected:
            # some were dropped on their way here; the engine still has them
            if self._expected > self._asked_for:
                self._catch_up()
                return
            self._lose_until(number)
        if number == self._expected:
            self._apply(batch)
        elif number == self._expected - 1 and batch.ts != self._last_unix_s:
            self._begin_anew()

    def _on_replay_end(self) -> None:
        self._end_replay()
        # not even the last one: another engine, with fewer batches behind it
        if self._expected and not self._replayed:
            self._begin_anew()
            return
        if self._expected == self._asked_for:
            self._skip_to_held()
        progress = self._expected > self._asked_for
        if self._take_held():
            self._wait(PROBE_S if progress else IDLE_PROBE_S)

    def _take_held(self) -> bool:
        """Applies what came during a replay; returns False when another one has begun."""
        while self._held:
            if not self._take(*self._held.popleft()):
                return False
        return True

    def _skip_to_held(self) -> None:
        """Gives up the gap before the first held batch, if there is one, where no replay can fill
        it.
        """
        if self._held and self._held[0][0] > self._expected:
            self._lose_until(self._held[0][0])

    def _lose_until(self, number: int) -> None:
        log.warning(
            "KV events %d to %d of rank %d are lost",
            self._expected,
            number - 1,
            self._address.dp_rank,
        )
        self._counts.losses += 1
        self._expected = number
        self._sink.on_lost()

    def _decoded(self, frames: Sequence[bytes]) -> tuple[int, EventBatch] | None:
        try:
            if len(frames) != FRAMES:
                raise ProtocolViolation(
                    f"a KV event message has {FRAMES} frames, got {len(frames)}"
                )
            return decode_sequence(frames[1]), decode_batch(frames[2])
        except ProtocolViolation as violation:
            # Its number stays missing, so that the gap it leaves is seen; a replay brings the same
            # bytes and then it counts as lost.
            self._counts.malformed += 1
            if self._complaint.due():
                log.warning("rank %d: %s", self._address.dp_rank, violation.message[:200])
            return None

    def _end_replay(self) -> None:
        replay, self._replay = self._replay, None
        if replay is not None:
            replay.close()

    def _wait(self, delay_s: float | None) -> None:
        """Asks again after `delay_s` of nothing new; None asks no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay_s is None else self._loop.call_later(delay_s, self._catch_up)
