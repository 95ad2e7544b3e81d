"""A stream of KV events that makes something raise, or no sense, harms no other one and no log."""

from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from kv_events.engine_stream import EngineStream, StreamAddress, StreamCounts
from kv_events.index import BlockBudget, RankBlocks
from kv_events.publisher import KvPublisher
from kv_events.subscriber import KvSubscriber
from protocol.membership import KvSource


def boom(*_: Any) -> Any:
    raise RuntimeError("injected")


async def test_a_feed_that_fails_in_its_turn_leaves_the_others_theirs() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    subscriber = KvSubscriber(context, None, on_lag=lambda _: None)
    subscriptions = []
    for number in (1, 2):
        source = KvSource(number, f"inproc://events{number}", f"inproc://snapshots{number}", 0, 1)
        subscriptions.append(
            subscriber.subscribe(source, lambda _: RankBlocks(BlockBudget(10), 10))
        )
    told: list[float] = []
    feeds: list[Any] = [subscription.feeds for subscription in subscriptions]
    feeds[0][0] = SimpleNamespace(on_time=boom, blocks=SimpleNamespace(clear=lambda: None))
    feeds[1][0] = SimpleNamespace(
        on_time=told.append, current=False, blocks=SimpleNamespace(clear=lambda: None)
    )
    subscriber._on_tick()
    assert len(told) == 1
    subscriber.close()
    context.destroy(linger=0)


async def test_a_batch_that_cannot_be_applied_is_lost_and_not_trusted_half() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    lost: list[bool] = []
    sink: Any = SimpleNamespace(on_events=boom, on_lost=lambda: lost.append(True))
    counts = StreamCounts()
    stream = EngineStream(context, StreamAddress(0, "inproc://engine", None), sink, counts)
    batch: Any = SimpleNamespace(ts=1.0, events=())
    stream._take(0, batch)
    assert (lost, counts.losses) == ([True], 1)
    taken: list[Any] = []
    sink.on_events = lambda events, _: taken.append(events)
    stream._take(1, batch)  # it goes on behind
    assert taken == [()]
    stream.close()
    context.destroy(linger=0)


async def test_of_messages_that_make_no_sense_the_first_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    publisher = KvPublisher(
        context, [0], block_size_tokens=4, bind="tcp://127.0.0.1:*", key=None, stream_id=1
    )
    subscriber = KvSubscriber(context, None, on_lag=lambda _: None)
    sink: Any = SimpleNamespace()
    stream = EngineStream(context, StreamAddress(0, "inproc://e", None), sink, StreamCounts())
    for take in (publisher._on_request, subscriber._on_batch, stream._on_live):
        caplog.clear()
        for _ in range(3):
            take([b"identity", b"", b"junk"])
        assert len(caplog.records) == 1
    for part in (publisher, subscriber, stream):
        part.close()
    context.destroy(linger=0)
