"""A publisher tells what waits at all of its ranks together, and nothing once it is closed."""

from collections.abc import Iterator

import pytest
import zmq

from kv_events.publisher import KvPublisher
from kv_events.sglang_wire import BlockStored
from protocol.transport.sockets import Socket

STORED = BlockStored([1, 2], None, [1, 2, 3, 4], 2)


@pytest.fixture
def context() -> Iterator["zmq.Context[Socket]"]:
    context: zmq.Context[Socket] = zmq.Context()
    yield context
    context.term()


async def test_what_waits_at_its_end_is_sent_over_no_closed_socket(
    context: "zmq.Context[Socket]",
) -> None:
    publisher = KvPublisher(
        context, [0, 1], block_size_tokens=4, bind="tcp://127.0.0.1:*", key=None, stream_id=7
    )
    for stream in publisher.streams.values():
        stream.on_events([STORED], 1.0)
    assert [stream.number for stream in publisher.streams.values()] == [1, 0]  # which waits
    timer = publisher._cadence._timer
    publisher.close()
    assert timer is not None
    assert timer.cancelled()
