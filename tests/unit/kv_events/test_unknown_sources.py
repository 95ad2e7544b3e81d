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


def test_it_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 112.0
    subscription = Subscription(source(), lambda: now)
    subscription.asking_since = 102.0
    for now in (112.0, 113.0, 111.0 + SAID_EVERY_S, 112.0 + SAID_EVERY_S):
        subscription.say_unanswered(now)
    assert len(caplog.records) == 2
    assert "not been known for 10 s" in caplog.messages[0]
    assert subscription.source.snapshots in caplog.messages[0]


async def test_who_waits_for_no_answer_has_no_socket_and_complains_of_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a rank that told of too many blocks, and is left alone for a while."""
    monkeypatch.setattr(module, "UNANSWERED_S_MAX", -1.0)
    monkeypatch.setattr(module, "TICK_S", 0.001)
    context: zmq.Context[Socket] = zmq.Context()
    subscriber = KvSubscriber(context, None, on_lag=lambda _: None)
    try:
        began_at = asyncio.get_running_loop().time()
        followed = subscriber.subscribe(source(), lambda _: RankBlocks(BlockBudget(10), 10))
        assert followed.dealer is not None
        assert followed.asking_since >= began_at
        feeds: Any = {0: SimpleNamespace(current=False, asks=False, on_time=lambda _: None)}
        followed.feeds = feeds
        async with asyncio.timeout(WAIT_S_MAX):
            while followed.dealer is not None:
                await asyncio.sleep(0)
        assert caplog.messages == []
        followed.feeds = {}
    finally:
        subscriber.close()
        context.destroy(linger=0)


async def test_who_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNANSWERED_S_MAX", 0.0)
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
