"""The pump: nothing that arrived stays unread, whatever sends fail meanwhile."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
import zmq

from frontend.fleet.missed import MISSED_S_MAX
from protocol.process.start_error import StartError
from protocol.transport.pump import SocketPump
from protocol.transport.sockets import (
    CONNECT_S_MAX,
    Socket,
    asking_dealer,
    bound_router,
    connected_dealer,
    is_local,
    subscriber,
)

WAIT_S_MAX = 10.0


async def test_messages_are_read_although_sends_to_nobody_fail(
    context: "zmq.Context[Socket]",
) -> None:
    """A failed send processes ZMQ's mailbox too, and with it the edge that announced a message."""
    router = bound_router(context, "tcp://127.0.0.1:0", None)
    dealer = connected_dealer(context, router.getsockopt_string(zmq.LAST_ENDPOINT), None)
    received: asyncio.Queue[bytes] = asyncio.Queue()
    pump = SocketPump(router, lambda frames: received.put_nowait(frames[1]))
    for number in range(50):
        await asyncio.get_running_loop().run_in_executor(None, dealer.send, b"%d" % number)
        await asyncio.sleep(0.001)  # the message is in the mailbox, the loop has not looked yet
        assert pump.send([b"nobody", b"x"]) is False
        async with asyncio.timeout(WAIT_S_MAX):
            assert await received.get() == b"%d" % number
    pump.close()
    dealer.close(linger=0)


async def test_a_defect_in_a_handler_does_not_keep_the_next_message(
    context: "zmq.Context[Socket]",
) -> None:
    router = bound_router(context, "tcp://127.0.0.1:0", None)
    dealer = connected_dealer(context, router.getsockopt_string(zmq.LAST_ENDPOINT), None)
    received: asyncio.Queue[bytes] = asyncio.Queue()

    def handle(frames: list[bytes]) -> None:
        if frames[1] == b"bad":
            raise RuntimeError("defect")
        received.put_nowait(frames[1])

    pump = SocketPump(router, handle)
    await asyncio.get_running_loop().run_in_executor(
        None, lambda: (dealer.send(b"bad"), dealer.send(b"good"))
    )
    async with asyncio.timeout(WAIT_S_MAX):
        assert await received.get() == b"good"
    pump.close()
    dealer.close(linger=0)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("tcp://127.0.0.1:5550", True),
        ("tcp://localhost:5550", True),
        ("tcp://[::1]:5550", True),
        ("ipc:///tmp/mesh", True),
        ("tcp://127.evil.example:5550", False),
        ("tcp://0.0.0.0:5550", False),
        ("tcp://*:5550", False),
        ("tcp://frontend:5550", False),
    ],
)
def test_only_loopback_and_ipc_are_local(address: str, local: bool) -> None:
    assert is_local(address) is local


def test_a_socket_that_leaves_the_host_needs_a_key(context: "zmq.Context[Socket]") -> None:
    with pytest.raises(StartError, match="key"):
        bound_router(context, "tcp://0.0.0.0:0", None)
    with pytest.raises(StartError, match="key"):
        connected_dealer(context, "tcp://frontend:5550", None)


def test_a_file_is_not_in_the_way_of_an_abstract_name(
    context: "zmq.Context[Socket]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"@{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        bound_router(context, f"ipc://{name}", None).close(linger=0)


async def test_a_keyed_connection_outlives_the_time_for_which_its_worker_is_missed(
    context: "zmq.Context[Socket]",
) -> None:
    router = bound_router(context, "tcp://127.0.0.1:*", None)
    assert router.getsockopt(zmq.HEARTBEAT_TIMEOUT) > 1_000 * MISSED_S_MAX
    router.close(linger=0)


async def test_no_try_of_a_connection_waits_for_the_kernels_next_one(
    context: "zmq.Context[Socket]",
) -> None:
    nobody = "tcp://127.0.0.1:1"
    for dialling in (
        connected_dealer(context, nobody, None),
        asking_dealer(context, nobody, None),
        subscriber(context, None),
    ):
        assert dialling.getsockopt(zmq.CONNECT_TIMEOUT) == 1_000 * CONNECT_S_MAX
        dialling.close(linger=0)
