"""Decides whose KV events this frontend follows: each worker's own, and those that the other nodes
of its engine relay under its id.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import zmq

from frontend.fleet.worker import Worker
from kv_events.subscriber import KvSubscriber, Subscription
from protocol.limits import WORKER_SILENT_S_MAX
from protocol.membership import Heartbeat, KvSource, RelayHello
from protocol.process.start_error import StartError
from protocol.requests import AnotherWay, Refused

log = logging.getLogger(__name__)

RELAYS_MAX: Final = 4_096
"""Bounds the connections of nodes that serve no requests themselves: as many as workers may
connect.
"""


@dataclass(eq=False)
class _Relay:
    """A _Relay is a node of somebody else's engine."""

    hello: RelayHello
    heard_at: float
    worker: Worker | None = None
    """Is the worker whose ranks it tells of, while that is connected."""
    subscription: Subscription | None = None


class KvSources:
    """KvSources keeps subscriptions to KV events in step with who is connected.

    Args:
        subscriber: None if nobody asks what is cached; then nothing is followed.
        worker_named: the worker of an id that serves requests now.
    """

    def __init__(
        self, subscriber: KvSubscriber | None, worker_named: Callable[[str], Worker | None]
    ) -> None:
        self._subscriber = subscriber
        self._worker_named = worker_named
        self._relays: dict[bytes, _Relay] = {}

    def worker_joined(self, worker: Worker) -> None:
        """Follows the worker's own events and those of the nodes that came before it."""
        if worker.hello.kv is not None:
            self._follow(worker, worker.hello.kv)
        for relay in self._relays.values():
            if relay.hello.worker_id == worker.worker_id:
                self._attach(relay, worker)

    def worker_left(self, worker: Worker) -> None:
        """Follows nothing of the worker any more; its blocks are forgotten."""
        for relay in self._relays.values():
            if relay.worker is worker:
                relay.worker = relay.subscription = None
        for subscription in worker.subscriptions:
            self._unfollow(subscription)
        worker.subscriptions.clear()
        for rank in worker.ranks:
            rank.blocks.clear()

    def relay_hello(
        self, identity: bytes, hello: RelayHello, now: float
    ) -> Refused | AnotherWay | None:
        """Takes a node that introduced itself; returns what to tell it if it is not followed."""
        heard = [
            relay
            for known, relay in self._relays.items()
            if known != identity and now - relay.heard_at <= WORKER_SILENT_S_MAX
        ]
        if any(_is_another_way(relay.hello, hello) for relay in heard):
            return AnotherWay()
        if any(
            _same_ranks(relay.hello, hello) and relay.hello.epoch != hello.epoch for relay in heard
        ):
            return Refused(
                f"another node tells of these ranks of worker {hello.worker_id!r}",
                pause_s=WORKER_SILENT_S_MAX,
            )
        # The same node under another connection, or its successor: its old subscription would feed
        # the same ranks.
        for known in [
            known
            for known, relay in self._relays.items()
            if known == identity or _same_ranks(relay.hello, hello)
        ]:
            self.relay_left(known)
        if len(self._relays) >= RELAYS_MAX:
            return Refused("this frontend follows too many nodes already")
        relay = self._relays[identity] = _Relay(hello, now)
        worker = self._worker_named(hello.worker_id)
        if worker is not None:
            self._attach(relay, worker)
        return None

    def relay_beat(self, identity: bytes, heartbeat: Heartbeat, now: float) -> bool:
        """Notes that a node lives, and takes the numbers of its streams; returns False when it has
        not introduced itself.
        """
        relay = self._relays.get(identity)
        if relay is None:
            return False
        relay.heard_at = now
        if relay.worker is not None:
            relay.worker.note_numbers(heartbeat.ranks, now)
        return True

    def relay_left(self, identity: bytes) -> None:
        """Forgets a node that said goodbye, fell silent or begins anew."""
        relay = self._relays.pop(identity, None)
        if relay is not None and relay.worker is not None and relay.subscription is not None:
            relay.worker.subscriptions.remove(relay.subscription)
            self._unfollow(relay.subscription)
            for dp_rank in relay.subscription.feeds:
                relay.worker.ranks[dp_rank].follow_events(False)  # noqa: FBT003

    def drop_silent_relays(self, now: float) -> None:
        """Forgets the nodes that are silent: of one that is gone nothing is known any more."""
        for identity in [
            identity
            for identity, relay in self._relays.items()
            if now - relay.heard_at > WORKER_SILENT_S_MAX
        ]:
            log.info(
                "a node of worker %s left: nothing heard from it",
                self._relays[identity].hello.worker_id,
            )
            self.relay_left(identity)

    def _attach(self, relay: _Relay, worker: Worker) -> None:
        own, told = worker.hello.kv, relay.hello.source
        if own is not None and not _apart(own, told):
            log.warning(
                "a node tells of ranks of worker %s that it tells of itself, and is not followed",
                worker.worker_id,
            )
            return
        relay.worker, relay.subscription = worker, self._follow(worker, told)

    def _follow(self, worker: Worker, source: KvSource) -> Subscription | None:
        """Subscribes to a source; without events a rank is routed to by load and by our own
        decisions.
        """
        if self._subscriber is None:
            return None
        ranks = worker.ranks
        if source.first_rank + source.rank_count > len(ranks):
            log.warning("worker %s tells of ranks that it does not have", worker.worker_id)
            return None
        try:
            subscription = self._subscriber.subscribe(source, lambda dp_rank: ranks[dp_rank].blocks)
        except (StartError, ValueError, zmq.ZMQError) as error:
            log.warning("cannot follow the KV events of worker %s: %s", worker.worker_id, error)
            return None
        worker.subscriptions.append(subscription)
        for dp_rank in subscription.feeds:
            ranks[dp_rank].follow_events(True)  # noqa: FBT003
        return subscription

    def _unfollow(self, subscription: Subscription) -> None:
        if self._subscriber is not None:
            self._subscriber.unsubscribe(subscription)


def _is_another_way(known: RelayHello, hello: RelayHello) -> bool:
    """Returns whether both are of one node, over two of its connections."""
    return (known.worker_id, known.epoch) == (hello.worker_id, hello.epoch) and hello.way not in (
        0,
        known.way,
    )


def _same_ranks(one: RelayHello, other: RelayHello) -> bool:
    """Returns whether both tell of the same ranks of one engine, or are one stream."""
    return one.source.stream_id == other.source.stream_id or (
        one.worker_id == other.worker_id and not _apart(one.source, other.source)
    )


def _apart(one: KvSource, other: KvSource) -> bool:
    return (
        one.first_rank + one.rank_count <= other.first_rank
        or other.first_rank + other.rank_count <= one.first_rank
    )
