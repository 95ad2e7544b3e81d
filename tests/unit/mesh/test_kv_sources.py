"""Whose KV events are followed, whatever the order in which workers and the nodes of their engines
come, go, fall silent and return.
"""

from collections.abc import Callable
from typing import Any

import pytest
import zmq
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from frontend.fleet.worker import Worker
from frontend.mesh import kv_sources
from frontend.mesh.kv_sources import KvSources
from kv_events.index import BlockBudget, RankBlocks
from kv_events.rank_feed import FeedCounts, RankFeed
from kv_events.subscriber import Subscription
from protocol.kv_stream import GPU, Snapshot, pack_hashes
from protocol.limits import WORKER_SILENT_S_MAX
from protocol.membership import (
    Capacity,
    Heartbeat,
    Hello,
    KvSource,
    ModelCard,
    RankLoad,
    RelayHello,
)
from protocol.process.start_error import StartError

CARD = ModelCard(name="m", context_length=8, vocab_size=100, eos_token_ids=[0], files=[])
RANKS = 4


def source(stream_id: int, first_rank: int = 0, rank_count: int = 1) -> KvSource:
    return KvSource(
        stream_id=stream_id,
        events=f"tcp://127.0.0.1:{stream_id}",
        snapshots=f"tcp://127.0.0.1:{stream_id + 1}",
        first_rank=first_rank,
        rank_count=rank_count,
    )


class FakeSubscriber:
    """As KvSubscriber, without sockets."""

    def __init__(self) -> None:
        self.followed: dict[int, Subscription] = {}
        self.error: Exception | None = None
        self.counts = FeedCounts()

    def subscribe(self, wanted: KvSource, blocks_of: Callable[[int], RankBlocks]) -> Subscription:
        if self.error is not None:
            raise self.error
        if wanted.stream_id in self.followed:
            raise ValueError("a stream of this id is followed already")
        subscription = self.followed[wanted.stream_id] = Subscription(wanted, lambda: 0.0)
        for rank in range(wanted.first_rank, wanted.first_rank + wanted.rank_count):
            subscription.feeds[rank] = RankFeed(blocks_of(rank), lambda: None, self.counts, 0.0)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        assert self.followed.pop(subscription.source.stream_id) is subscription, "not followed"
        for feed in subscription.feeds.values():
            feed.blocks.clear()


class Scene:
    """A frontend's workers and sources."""

    def __init__(self, *, following: bool = True) -> None:
        self.subscriber = FakeSubscriber()
        self.workers: dict[str, Worker] = {}
        self.sources = KvSources(self.subscriber if following else None, self.workers.get)  # pyright: ignore[reportArgumentType]
        self.now = 0.0

    def join(self, worker_id: str = "w", kv: KvSource | None = None, ranks: int = RANKS) -> Worker:
        capacity = Capacity(
            dp_size=ranks, page_size_tokens=16, kv_tokens=10_000, requests_running_max=8
        )
        hello = Hello(
            worker_id=worker_id,
            epoch=1,
            service="text",
            endpoint="dyn://a.b.c",
            card=CARD,
            capacity=capacity,
            credit_requests=4,
            kv=kv,
        )
        worker = self.workers[worker_id] = Worker(
            worker_id.encode(), hello, self.now, BlockBudget(1_000_000)
        )
        self.sources.worker_joined(worker)
        return worker

    def leave(self, worker_id: str = "w") -> Worker:
        worker = self.workers[worker_id]
        # as the mesh does: first this, then the registry forgets it
        self.sources.worker_left(worker)
        return self.workers.pop(worker_id)

    def relay(
        self, identity: bytes, kv: KvSource, worker_id: str = "w", way: int = 0, epoch: int = 1
    ) -> bool:
        return (
            self.sources.relay_hello(identity, RelayHello(worker_id, epoch, kv, way), self.now)
            is None
        )

    def beat(self, identity: bytes, *numbers: tuple[int, int]) -> bool:
        loads = [RankLoad(rank, 0, 0, 0, kv_number=number) for rank, number in numbers]
        return self.sources.relay_beat(identity, Heartbeat("w", 1, loads), self.now)

    def fall_silent(self, *but: bytes) -> None:
        """Nobody is heard but these."""
        self.now += WORKER_SILENT_S_MAX + 0.1
        for identity in but:
            assert self.beat(identity)
        self.sources.drop_silent_relays(self.now)

    def followed(self, worker_id: str = "w") -> dict[int, list[int]]:
        """Stream → the ranks whose blocks it feeds; checks that the subscriber and the worker
        agree.
        """
        worker = self.workers[worker_id]
        for subscription in worker.subscriptions:
            assert self.subscriber.followed[subscription.source.stream_id] is subscription
            assert all(
                feed.blocks is worker.ranks[rank].blocks
                for rank, feed in subscription.feeds.items()
            )
        return {
            subscription.source.stream_id: sorted(subscription.feeds)
            for subscription in worker.subscriptions
        }

    def telling(self, worker_id: str = "w") -> list[int]:
        return [rank.dp_rank for rank in self.workers[worker_id].ranks if rank.tells_events]

    def fill(self, worker: Worker, rank: int) -> None:
        """The rank's first snapshot: two blocks."""
        feed = worker.feed(rank)
        assert feed is not None
        feed.on_snapshot(Snapshot(1, rank, 1, [pack_hashes([1, 2])]), self.now)


def test_a_worker_with_events_is_followed_while_it_is_there() -> None:
    scene = Scene()
    worker = scene.join(kv=source(10, 0, RANKS))
    assert (scene.followed(), scene.telling()) == ({10: [0, 1, 2, 3]}, [0, 1, 2, 3])
    scene.fill(worker, 2)
    scene.leave()
    assert (scene.subscriber.followed, worker.subscriptions, len(worker.ranks[2].blocks)) == (
        {},
        [],
        0,
    )


def test_a_worker_without_events_is_not_followed_and_what_was_assumed_of_it_is_forgotten() -> None:
    scene = Scene()
    worker = scene.join()
    assert (scene.followed(), scene.telling()) == ({}, [])
    worker.ranks[1].blocks.predict([1, 2, 3], until=100.0)
    scene.leave()
    assert len(worker.ranks[1].blocks) == 0


@pytest.mark.parametrize("relay_first", [True, False])
def test_a_node_may_come_before_or_after_its_worker(relay_first: bool) -> None:
    scene = Scene()
    if relay_first:
        assert scene.relay(b"node", source(20, 2, 2))
        assert scene.subscriber.followed == {}
    scene.join(kv=source(10, 0, 2))
    if not relay_first:
        assert scene.telling() == [0, 1]
        assert scene.relay(b"node", source(20, 2, 2))
    assert (scene.followed(), scene.telling()) == ({10: [0, 1], 20: [2, 3]}, [0, 1, 2, 3])


@pytest.mark.parametrize("how", ["goodbye", "silence"])
def test_when_a_node_leaves_its_ranks_alone_are_forgotten(how: str) -> None:
    scene = Scene()
    worker = scene.join(kv=source(10, 0, 2))
    scene.relay(b"node", source(20, 2, 1))
    scene.relay(b"other", source(30, 3, 1))
    for rank in range(RANKS):
        scene.fill(worker, rank)
    if how == "goodbye":
        scene.sources.relay_left(b"node")
    else:
        scene.fall_silent(b"other")
    assert (scene.followed(), scene.telling()) == ({10: [0, 1], 30: [3]}, [0, 1, 3])
    assert [len(rank.blocks) for rank in worker.ranks] == [2, 2, 0, 2]
    assert not scene.beat(b"node")
    assert scene.relay(b"node", source(21, 2, 1))
    assert (scene.followed(), scene.telling()) == ({10: [0, 1], 30: [3], 21: [2]}, [0, 1, 2, 3])


def test_a_node_is_silent_only_after_the_whole_time() -> None:
    scene = Scene()
    scene.join()
    scene.relay(b"node", source(20))
    for _ in range(5):
        scene.now += WORKER_SILENT_S_MAX
        scene.sources.drop_silent_relays(scene.now)
        assert scene.beat(b"node")
    assert scene.followed() == {20: [0]}


def test_a_worker_that_returns_finds_its_nodes_again() -> None:
    scene = Scene()
    first = scene.join(kv=source(10, 0, 2))
    scene.relay(b"node", source(20, 2, 2))
    scene.fill(first, 3)
    scene.leave()
    assert scene.subscriber.followed == {}
    assert len(first.ranks[3].blocks) == 0
    assert scene.beat(b"node", (2, 5))
    second = scene.join(kv=source(11, 0, 2))
    assert (scene.followed(), scene.telling()) == ({11: [0, 1], 20: [2, 3]}, [0, 1, 2, 3])
    assert (first.subscriptions, len(second.ranks[3].blocks)) == ([], 0)


def test_a_node_that_left_while_its_worker_was_away_is_not_followed_when_it_returns() -> None:
    scene = Scene()
    scene.join()
    scene.relay(b"node", source(20))
    scene.leave()
    scene.sources.relay_left(b"node")
    scene.join()
    assert (scene.followed(), scene.telling(), scene.subscriber.followed) == ({}, [], {})


def test_a_node_that_introduces_itself_anew_begins_anew() -> None:
    scene = Scene()
    worker = scene.join()
    scene.relay(b"node", source(20))
    scene.fill(worker, 0)
    assert scene.relay(b"node", source(20))
    assert (scene.followed(), scene.telling(), len(worker.ranks[0].blocks)) == ({20: [0]}, [0], 0)
    assert scene.relay(b"node", source(21, 1))
    assert (scene.followed(), scene.telling()) == ({21: [1]}, [1])


def test_a_node_may_go_over_to_another_worker() -> None:
    scene = Scene()
    scene.join("a")
    scene.join("b")
    scene.relay(b"node", source(20), "a")
    scene.relay(b"node", source(20, 1), "b")
    assert (scene.followed("a"), scene.telling("a")) == ({}, [])
    assert (scene.followed("b"), scene.telling("b")) == ({20: [1]}, [1])


@pytest.mark.parametrize(
    "kv", [source(20, RANKS, 1), source(20, 0, RANKS + 1), source(20, RANKS - 1, 2)]
)
def test_ranks_that_a_worker_does_not_have_are_not_followed(kv: KvSource) -> None:
    scene = Scene()
    assert scene.relay(b"node", kv)
    worker = scene.join(kv=kv)
    assert (scene.followed(), scene.telling(), scene.subscriber.followed) == ({}, [], {})
    assert scene.beat(b"node", (RANKS, 3), (0, 3))
    scene.sources.relay_left(b"node")
    scene.sources.worker_left(worker)
    assert scene.subscriber.followed == {}


@pytest.mark.parametrize(
    "error", [StartError("no key"), ValueError("twice"), zmq.ZMQError(zmq.EINVAL)]
)
def test_a_source_that_cannot_be_followed_costs_its_events_alone(error: Exception) -> None:
    scene = Scene()
    scene.subscriber.error = error
    scene.join(kv=source(10, 0, 2))
    assert scene.relay(b"node", source(20, 2, 2))
    assert (scene.followed(), scene.telling()) == ({}, [])
    scene.subscriber.error = None
    assert scene.relay(b"node", source(20, 2, 2))
    assert (scene.followed(), scene.telling()) == ({20: [2, 3]}, [2, 3])
    scene.leave()
    assert scene.subscriber.followed == {}


def test_without_a_subscriber_nothing_is_followed_and_nobody_is_sent_away() -> None:
    scene = Scene(following=False)
    scene.join(kv=source(10, 0, 2))
    assert scene.relay(b"node", source(20, 2, 2))
    assert scene.beat(b"node", (2, 1))
    assert (scene.followed(), scene.telling()) == ({}, [])
    scene.sources.relay_left(b"node")
    scene.leave()


def test_heartbeats_tell_the_numbers_to_the_feeds_of_their_ranks() -> None:
    scene = Scene()
    worker = scene.join(kv=source(10, 0, 1))
    scene.relay(b"node", source(20, 1, 1))
    numbers: list[tuple[int, int]] = []
    for rank in (0, 1):
        feed = worker.feed(rank)
        assert feed is not None
        feed.on_number = lambda number, now, rank=rank: numbers.append((rank, number))  # type: ignore[method-assign]
    assert scene.beat(b"node", (1, 7), (3, 9))
    assert numbers == [(1, 7)]
    assert not scene.beat(b"stranger", (1, 8))


def test_there_is_a_bound_on_nodes_and_a_known_one_may_begin_anew_at_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kv_sources, "RELAYS_MAX", 2)
    scene = Scene()
    scene.join()
    assert [scene.relay(bytes([number]), source(20 + number, number)) for number in range(3)] == [
        True,
        True,
        False,
    ]
    assert scene.relay(b"\1", source(40, 3))
    assert scene.telling() == [0, 3]
    assert not scene.beat(b"\2")
    scene.sources.relay_left(b"\0")
    assert scene.relay(b"\2", source(22, 2))


def test_of_one_stream_told_twice_one_is_followed() -> None:
    scene = Scene()
    scene.join("a", kv=source(10))
    scene.join("b", kv=source(10))
    assert [scene.followed(name) for name in ("a", "b")] == [{10: [0]}, {}]
    assert [scene.telling(name) for name in ("a", "b")] == [[0], []]
    scene.leave("b")
    assert scene.followed("a") == {10: [0]}


@pytest.mark.parametrize("how", ["goodbye", "silence"])
def test_a_node_that_reconnects_is_followed_when_its_old_connection_is_dropped(how: str) -> None:
    """ZMQ gives a new connection a new identity; the old one is only noticed as silent later."""
    scene = Scene()
    scene.join()
    scene.relay(b"old", source(20))
    assert scene.relay(b"new", source(20))
    if how == "goodbye":
        scene.sources.relay_left(b"old")
    else:
        scene.fall_silent(b"new")
    assert (scene.followed(), scene.telling()) == ({20: [0]}, [0])


def test_a_node_with_two_ways_is_followed_over_one_and_then_over_the_other() -> None:
    scene = Scene()
    scene.join()
    assert scene.relay(b"first", source(20), way=1)
    assert not scene.relay(b"second", source(20), way=2)
    assert scene.beat(b"first")
    assert scene.relay(b"reconnected", source(20), way=1)
    assert not scene.relay(b"second", source(20), way=2)
    scene.fall_silent()
    assert scene.relay(b"second", source(20), way=2)
    assert (scene.followed(), scene.telling()) == ({20: [0]}, [0])


def test_nobody_tells_of_ranks_that_a_worker_tells_of_itself() -> None:
    scene = Scene()
    scene.join(kv=source(10, 0, 2))
    scene.relay(b"stranger", source(20, 1, 2))
    assert (scene.followed(), scene.telling()) == ({10: [0, 1]}, [0, 1])
    assert scene.beat(b"stranger", (1, 7))  # nor does it tell what numbers they have come to
    feed = scene.workers["w"].feed(1)
    assert feed is not None
    assert feed._awaited is None


def test_nobody_takes_the_place_of_a_node_that_is_heard() -> None:
    scene = Scene()
    scene.join(kv=source(10))
    scene.relay(b"node", source(20, 1))
    assert not scene.relay(b"stranger", source(30, 1), epoch=2)
    assert scene.followed() == {10: [0], 20: [1]}
    scene.fall_silent()
    assert scene.relay(b"restarted", source(30, 1), epoch=2)
    assert scene.followed() == {10: [0], 30: [1]}


def test_a_node_that_restarts_keeps_its_blocks_when_its_old_connection_is_dropped() -> None:
    scene = Scene()
    worker = scene.join()
    scene.relay(b"old", source(20))
    scene.relay(b"new", source(21))
    feed = scene.subscriber.followed[21].feeds[0]
    feed.on_snapshot(Snapshot(21, 0, 1, [pack_hashes([1, 2])]), scene.now)
    scene.fall_silent(b"new")
    assert (scene.followed(), scene.telling()) == ({21: [0]}, [0])
    assert set(worker.ranks[0].blocks.places) == {1, 2} or not feed.current


def test_numbers_go_to_the_stream_of_whoever_tells_them() -> None:
    scene = Scene()
    scene.join()
    scene.relay(b"old", source(20))
    scene.relay(b"new", source(21))
    told: list[int] = []
    for stream_id, subscription in scene.subscriber.followed.items():
        subscription.feeds[0].on_number = lambda number, now, stream_id=stream_id: told.append(
            stream_id
        )  # type: ignore[method-assign]
    scene.beat(b"new", (0, 3))
    assert told == [21]


WORKER_IDS = st.sampled_from(["a", "b"])
NODES = st.integers(0, 4)
"""A node's identity; each brings another part of its worker's ranks, and node 4 ranks that nobody
has.
"""


class ComingAndGoing(RuleBasedStateMachine):
    """Every order of everything; each process has a stream of its own, and no two nodes of a worker
    tell of one rank.
    """

    @initialize()
    def begin(self) -> None:
        self.scene = Scene()
        self.nodes: dict[int, tuple[str, KvSource, float]] = {}
        self.streams = 100

    def new_stream(self, first_rank: int) -> KvSource:
        self.streams += 10
        return source(self.streams, first_rank)

    @rule(worker_id=WORKER_IDS, events=st.booleans())
    def a_worker_joins(self, worker_id: str, events: bool) -> None:
        if worker_id in self.scene.workers:
            self.scene.leave(worker_id)
        self.scene.join(worker_id, self.new_stream(0) if events else None)

    @rule(worker_id=WORKER_IDS)
    def a_worker_leaves(self, worker_id: str) -> None:
        if worker_id in self.scene.workers:
            worker = self.scene.leave(worker_id)
            assert worker.subscriptions == []
            assert sum(len(rank.blocks) for rank in worker.ranks) == 0

    @rule(node=NODES, worker_id=st.sampled_from(["a", "b", "nobody"]), same=st.booleans())
    def a_node_says_hello(self, node: int, worker_id: str, same: bool) -> None:
        known = self.nodes.get(node)
        kv = known[1] if same and known is not None else self.new_stream(1 + node)
        assert self.scene.relay(bytes([node]), kv, worker_id)
        self.nodes[node] = worker_id, kv, self.scene.now

    @rule(node=NODES)
    def a_node_beats(self, node: int) -> None:
        assert self.scene.beat(bytes([node]), (1 + node, 1)) == (node in self.nodes)
        if node in self.nodes:
            worker_id, kv, _ = self.nodes[node]
            self.nodes[node] = worker_id, kv, self.scene.now

    @rule(node=NODES)
    def a_node_says_goodbye(self, node: int) -> None:
        self.scene.sources.relay_left(bytes([node]))
        self.nodes.pop(node, None)

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.scene.now += seconds
        self.scene.sources.drop_silent_relays(self.scene.now)
        self.nodes = {
            node: known
            for node, known in self.nodes.items()
            if self.scene.now - known[2] <= WORKER_SILENT_S_MAX
        }

    @rule(worker_id=WORKER_IDS, rank=st.integers(0, RANKS - 1))
    def a_snapshot_comes(self, worker_id: str, rank: int) -> None:
        worker = self.scene.workers.get(worker_id)
        if worker is not None and worker.feed(rank) is not None:
            self.scene.fill(worker, rank)
            worker.ranks[rank].blocks.store(GPU, [3])

    @invariant()
    def exactly_the_right_streams_are_followed(self) -> None:
        if not hasattr(self, "scene"):
            return
        expected: dict[int, int] = {}
        for worker_id, worker in self.scene.workers.items():
            own: list[Any] = [] if worker.hello.kv is None else [worker.hello.kv]
            theirs = [
                kv
                for name, kv, _ in self.nodes.values()
                if name == worker_id and kv.first_rank < RANKS
            ]
            streams = {kv.stream_id: [kv.first_rank] for kv in own + theirs}
            assert self.scene.followed(worker_id) == streams
            assert self.scene.telling(worker_id) == sorted(kv.first_rank for kv in own + theirs)
            expected.update((stream_id, ranks[0]) for stream_id, ranks in streams.items())
            assert all(rank.tells_events or not len(rank.blocks) for rank in worker.ranks)
        assert {
            stream_id: min(one.feeds) for stream_id, one in self.scene.subscriber.followed.items()
        } == expected


ComingAndGoing.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestComingAndGoing = ComingAndGoing.TestCase
