"""A source that tells nothing of its ranks' blocks is told of, and where that may lie."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from kv_events import subscriber as module
from kv_events.index import BlockBudget, RankBlocks
from kv_events.subscriber import KvSubscriber, Subscription
from protocol.membership import KvSource
from protocol.process.log_floods import SAID_EVERY_S
from protocol.transport.sockets import Socket
from starter.ports import free_port

WAIT_S_MAX = 10.0


def source() -> KvSource:
    """One where nobody is."""
    events, snapshots = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    return KvSource(7, events, snapshots, 0, 1)


def test_it_counts_from_when_all_was_known_last(caplog: pytest.LogCaptureFixture) -> None:
    subscription, feed = Subscription(source(), 100.0), SimpleNamespace(current=False)
    feeds: Any = {0: feed}
    subscription.feeds = feeds
    assert subscription.unknown_s(109.0) == 9.0
    feed.current = True
    assert subscription.unknown_s(110.0) == 0.0
    feed.current = False
    assert subscription.unknown_s(112.0) == 2.0
    for now in (120.0, 121.0, 119.0 + SAID_EVERY_S, 120.0 + SAID_EVERY_S):
        subscription.say_unknown(now)
    assert len(caplog.records) == 2
    assert "not been known for 10 s" in caplog.messages[0]
    assert subscription.source.snapshots in caplog.messages[0]


async def test_who_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNKNOWN_S_MAX", 0.0)
    said: asyncio.Queue[str] = asyncio.Queue()

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.put_nowait(record.getMessage())

    handler, log = Heard(), logging.getLogger("kv_events.subscriber")
    log.addHandler(handler)
    context: zmq.Context[Socket] = zmq.Context()
    subscriber = KvSubscriber(context, None, on_lag=lambda _: None)
    try:
        nobody = source()
        subscriber.subscribe(nobody, lambda _: RankBlocks(BlockBudget(10), 10))
        async with asyncio.timeout(WAIT_S_MAX):
            assert nobody.events in await said.get()
    finally:
        subscriber.close()
        context.destroy(linger=0)
        log.removeHandler(handler)
