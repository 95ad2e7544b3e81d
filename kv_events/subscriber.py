"""Follows the KV streams of a frontend's workers: one SUB for every worker it knows, and a DEALER
where a snapshot is wanted.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import zmq

from kv_events.index import RankBlocks
from kv_events.rank_feed import FeedCounts, RankFeed
from protocol.errors import ProtocolViolation
from protocol.kv_stream import (
    BlockBatch,
    SnapshotRequest,
    decode_batch,
    decode_snapshot,
    encode_message,
)
from protocol.membership import KvSource
from protocol.process.log_floods import Complaint
from protocol.transport.curve import MeshKey
from protocol.transport.pump import SocketPump
from protocol.transport.sockets import Socket, asking_dealer, require_key, subscriber

log = logging.getLogger(__name__)

SNAPSHOTS_HELD_MAX: Final = 2
"""Bounds the snapshots kept unread, of a frame's largest size each; the others wait in the worker
that sends them.
"""

UNANSWERED_S_MAX: Final = 10.0
"""Bounds how long nothing is said of a source that leaves a question open: a worker comes within
seconds, and a snapshot is asked for again.
"""

TICK_S: Final = 0.25
"""Is how often feeds are told the time: as often as heartbeats come."""


class Subscription:
    """A Subscription, which `KvSubscriber.subscribe` makes, holds the feeds of one source.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, source: KvSource, clock: Callable[[], float]) -> None:
        self.source = source
        self.feeds: dict[int, RankFeed] = {}
        """Maps a DP rank to its feed."""
        self.dealer: SocketPump | None = None
        """Is there while a question is open."""
        self.asking_since = 0.0
        """Is when the dealer was opened."""
        self._complaint = Complaint(clock)

    @property
    def current(self) -> bool:
        """Tells whether every rank's blocks are up to date."""
        return all(feed.current for feed in self.feeds.values())

    @property
    def asks(self) -> bool:
        """Tells whether some rank waits for a snapshot."""
        return any(feed.asks for feed in self.feeds.values())

    def say_unanswered(self, now: float) -> None:
        """Says once a minute that nothing is known, and where that may lie."""
        if self._complaint.due():
            log.warning(
                "what is cached behind %s has not been known for %.0f s, so its ranks are chosen "
                "by load: it and %s must be reachable from here, at the --kv-host and --kv-port "
                "of the worker",
                self.source.events,
                now - self.asking_since,
                self.source.snapshots,
            )


class KvSubscriber:
    """A KvSubscriber keeps the blocks of many workers' ranks up to date; it runs on the event loop
    it was made on.

    Args:
        on_lag: gets the seconds from an engine's publishing of a batch to its being applied here.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        key: MeshKey | None,
        *,
        on_lag: Callable[[float], None],
    ) -> None:
        self.counts = FeedCounts()
        self.malformed = 0
        self._context = context
        self._key = key
        self._on_lag = on_lag
        self._loop = asyncio.get_running_loop()
        self._complaint = Complaint(self._loop.time)
        self._by_stream: dict[int, Subscription] = {}
        self._socket = subscriber(context, key)
        self._pump = SocketPump(self._socket, self._on_batch)
        self._tick = self._loop.call_later(TICK_S, self._on_tick)

    def subscribe(self, source: KvSource, blocks_of: Callable[[int], RankBlocks]) -> Subscription:
        """Follows a source's streams into the blocks that `blocks_of(dp_rank)` gives.

        Raises:
            StartError: the source is on another host and there is no key.
            zmq.ZMQError: its address cannot be dialled.
            ValueError: its stream is followed already.
        """
        if source.stream_id in self._by_stream:
            raise ValueError("a stream of this id is followed already")
        require_key(source.events, self._key)
        require_key(source.snapshots, self._key)
        now = self._loop.time()
        subscription = Subscription(source, self._loop.time)
        if not self._others_at(source.events):
            self._socket.connect(source.events)
        self._by_stream[source.stream_id] = subscription
        for rank in range(source.first_rank, source.first_rank + source.rank_count):
            ask = partial(self._ask, subscription, rank)
            subscription.feeds[rank] = RankFeed(blocks_of(rank), ask, self.counts, now)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Follows a source no longer; its ranks' blocks are forgotten."""
        source = subscription.source
        self._by_stream.pop(source.stream_id, None)
        if not self._others_at(source.events):
            with suppress(zmq.ZMQError):  # ZMQ gave the connection up itself
                self._socket.disconnect(source.events)
        _hang_up(subscription)
        for feed in subscription.feeds.values():
            feed.blocks.clear()

    def close(self) -> None:
        """Stops listening to everyone."""
        self._tick.cancel()
        for subscription in self._by_stream.values():
            _hang_up(subscription)
        self._by_stream.clear()
        self._pump.close()

    def _others_at(self, address: str) -> bool:
        """Returns whether a followed source has this address: that of a worker which died, taken by
        the next one on its host.
        """
        return any(other.source.events == address for other in self._by_stream.values())

    def _on_batch(self, frames: list[bytes]) -> None:
        try:
            batch = decode_batch(frames)
            feed = self._feed_of(batch)
            if feed is not None:
                feed.on_batch(batch, self._loop.time())
                if feed.number == batch.number:
                    self._on_lag(max(0.0, time.time() - batch.engine_unix_s))
        except ProtocolViolation as violation:
            self._complain(violation)

    def _feed_of(self, batch: BlockBatch) -> RankFeed | None:
        subscription = self._by_stream.get(batch.stream_id)
        return None if subscription is None else subscription.feeds.get(batch.dp_rank)

    def _ask(self, subscription: Subscription, dp_rank: int) -> None:
        source = subscription.source
        if subscription.dealer is None:
            try:
                dealer = asking_dealer(
                    self._context, source.snapshots, self._key, answers_held_max=SNAPSHOTS_HELD_MAX
                )
            except zmq.ZMQError as error:
                log.warning("cannot ask %s for a snapshot: %s", source.snapshots, error)
                return
            subscription.dealer = SocketPump(dealer, partial(self._on_snapshot, subscription))
            subscription.asking_since = self._loop.time()
        subscription.dealer.send(encode_message(SnapshotRequest(source.stream_id, dp_rank)))

    def _on_snapshot(self, subscription: Subscription, frames: list[bytes]) -> None:
        """Takes an answer.

        One that nobody asked for, or that is none, is the last: who sends such ones would send
        more.
        """
        try:
            snapshot = decode_snapshot(frames)
            feed = subscription.feeds.get(snapshot.dp_rank)
            asked = (
                snapshot.stream_id == subscription.source.stream_id
                and feed is not None
                and feed.asks
            )
            if feed is not None and asked:
                feed.on_snapshot(snapshot, self._loop.time())
        except ProtocolViolation as violation:
            asked = False
            self._complain(violation)
        if not asked:
            _hang_up(subscription)  # a feed that still has none asks again, in a while

    def _on_tick(self) -> None:
        now = self._loop.time()
        self._tick = self._loop.call_later(TICK_S, self._on_tick)
        for subscription in self._by_stream.values():
            try:
                for feed in subscription.feeds.values():
                    feed.on_time(now)
                if subscription.dealer is None:
                    continue
                # Descriptors are for those who wait for an answer.
                if not subscription.asks:
                    _hang_up(subscription)
                elif now - subscription.asking_since > UNANSWERED_S_MAX:
                    subscription.say_unanswered(now)
            except Exception:
                # the others are told the time
                log.exception("defect in the KV events from %s", subscription.source.events)

    def _complain(self, violation: ProtocolViolation) -> None:
        self.malformed += 1
        if self._complaint.due():
            log.warning("dropped a malformed message of the KV plane: %s", violation.message[:200])


def _hang_up(subscription: Subscription) -> None:
    dealer, subscription.dealer = subscription.dealer, None
    if dealer is not None:
        dealer.close()
