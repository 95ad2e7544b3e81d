"""Connections that say nothing: few, and not for long; who speaks stays."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import zmq

from protocol.transport.door import Door
from protocol.transport.pump import SocketPump
from protocol.transport.sockets import Socket, bound_router, connected_dealer

WAIT_S_MAX = 10.0


@dataclass
class Guarded:
    """A ROUTER with a door."""

    context: "zmq.Context[Socket]"
    newcomers_max: int = 1_000
    silent_s_max: float = 1_000.0
    heard: "asyncio.Queue[bytes]" = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        router = bound_router(self.context, "tcp://127.0.0.1:0", None)
        self.address = router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.door = Door(
            self.context, router, newcomers_max=self.newcomers_max, silent_s_max=self.silent_s_max
        )
        self.pump = SocketPump(
            router, lambda frames: self.heard.put_nowait(frames[1]), receive=self.door.receive
        )

    async def come(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that says nothing, once it was let in: ZMQ greets."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(self.address.rpartition(":")[2])
        )
        await reader.readexactly(10)
        return reader, writer

    def close(self) -> None:
        self.door.close()
        self.pump.close()


async def shut(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        await reader.read()


@pytest.fixture
async def three_at_most(context: "zmq.Context[Socket]") -> AsyncIterator[Guarded]:
    guarded = Guarded(context, newcomers_max=3)
    yield guarded
    guarded.close()


async def test_of_too_many_newcomers_the_first_is_shut_out(three_at_most: Guarded) -> None:
    came = [await three_at_most.come() for _ in range(5)]
    for reader, _ in came[:2]:
        await shut(reader)
    assert not any(reader.at_eof() for reader, _ in came[2:])
    for _, writer in came:
        writer.close()


async def test_who_speaks_is_none_and_stays(
    three_at_most: Guarded, context: "zmq.Context[Socket]"
) -> None:
    dealers: list[Socket] = []
    for _ in range(6):
        dealers.append(dealer := connected_dealer(context, three_at_most.address, None))
        for word in (b"hello", b"a beat"):  # the first may overtake the news of its coming
            await asyncio.to_thread(dealer.send, word)
            async with asyncio.timeout(WAIT_S_MAX):
                assert await three_at_most.heard.get() == word
    monitors = [dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED) for dealer in dealers]
    came = [await three_at_most.come() for _ in range(4)]
    await shut(came[0][0])
    for dealer in dealers:
        await asyncio.to_thread(dealer.send, b"again")
        async with asyncio.timeout(WAIT_S_MAX):
            assert await three_at_most.heard.get() == b"again"
    assert not any(monitor.poll(0) for monitor in monitors)
    for each in (*monitors, *dealers):
        each.close(linger=0)
    for _, writer in came:
        writer.close()


async def test_who_says_nothing_for_too_long_is_shut_out(context: "zmq.Context[Socket]") -> None:
    guarded = Guarded(context, silent_s_max=0.05)
    for _ in range(2):
        reader, writer = await guarded.come()
        await shut(reader)
        writer.close()
    guarded.close()


async def test_who_left_makes_room(three_at_most: Guarded) -> None:
    for _ in range(5):
        _, writer = await three_at_most.come()
        writer.close()
        await writer.wait_closed()
        while three_at_most.door._newcomers:
            await asyncio.sleep(0.001)
    came = [await three_at_most.come() for _ in range(3)]
    assert not any(reader.at_eof() for reader, _ in came)
    for _, writer in came:
        writer.close()


async def test_a_descriptor_that_is_somebody_elses_by_now_is_left_alone(
    three_at_most: Guarded,
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        three_at_most.door._shut(ours.fileno())
        ours.send(b"x")
        assert theirs.recv(1) == b"x"


async def test_a_path_has_no_door(context: "zmq.Context[Socket]", tmp_path: object) -> None:
    router = bound_router(context, f"ipc://{tmp_path}/s", None)
    door, heard = Door(context, router), asyncio.Queue[bytes]()
    pump = SocketPump(router, lambda frames: heard.put_nowait(frames[1]), receive=door.receive)
    dealer = connected_dealer(context, f"ipc://{tmp_path}/s", None)
    await asyncio.to_thread(dealer.send, b"x")
    async with asyncio.timeout(WAIT_S_MAX):
        assert await heard.get() == b"x"
    dealer.close(linger=0)
    door.close()
    pump.close()
