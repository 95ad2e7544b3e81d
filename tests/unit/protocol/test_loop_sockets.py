"""Sockets that speak on the loop itself, among each other and with ZeroMQ's: what is sent arrives,
who ends is told of, who is silent is given up, and strangers are few.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zmq

from frontend.fleet.missed import MISSED_S_MAX
from protocol.process.start_error import StartError
from protocol.transport import connection as connections
from protocol.transport.curve import MeshKey
from protocol.transport.loop_dealer import LoopDealer, place_of
from protocol.transport.loop_router import LoopRouter
from protocol.transport.pump import Pump, SocketPump
from protocol.transport.sockets import Socket, bound_router, connected_dealer
from protocol.transport.zmtp import GREETING, PING, packed, ready
from starter.ports import free_port

WAIT_S_MAX = 10.0

Frames = list[bytes]


@dataclass
class End:
    """One end of connections, and what it was told."""

    heard: "asyncio.Queue[Frames]" = field(default_factory=asyncio.Queue)
    gone: "asyncio.Queue[bytes]" = field(default_factory=asyncio.Queue)
    writable: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self) -> Frames:
        async with asyncio.timeout(WAIT_S_MAX):
            return await self.heard.get()

    async def next_gone(self) -> bytes:
        async with asyncio.timeout(WAIT_S_MAX):
            return await self.gone.get()


async def sent(pump: Pump, end: End, *frames: bytes) -> None:
    """Sends as soon as there is a connection."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not pump.send(frames):
            await end.writable.wait()
            end.writable.clear()


def dialled(address: str, end: End) -> LoopDealer:
    return LoopDealer(place_of(address), end.heard.put_nowait, end.writable.set)


@pytest.fixture(params=["file", "abstract", "tcp"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "tcp":
        return f"tcp://127.0.0.1:{free_port()}"
    return f"ipc://{tmp_path}/s" if request.param == "file" else f"ipc://@{tmp_path}"


@dataclass
class Bound:
    router: LoopRouter
    end: End
    address: str


@pytest.fixture
async def bound(address: str) -> AsyncIterator[Bound]:
    end = End()
    router = LoopRouter(address)
    router.open(end.heard.put_nowait, end.gone.put_nowait)
    yield Bound(router, end, address)
    router.close()
    await router.deserted()


async def test_messages_of_all_sizes_go_both_ways_in_order(bound: Bound) -> None:
    end = End()
    dealer = dialled(bound.address, end)
    await sent(dealer, end, b"hello")
    (identity, _) = await bound.end.next()
    for size in (0, 1, 255, 256, 65_536):
        assert dealer.send([b"h", b"x" * size])
    for size in (0, 1, 255, 256, 65_536):
        assert await bound.end.next() == [identity, b"h", b"x" * size]
    large = [b"h", *[b"y" * 65_536] * 100]
    assert bound.router.send([identity, *large])
    assert await end.next() == large
    dealer.close()
    assert await bound.end.next_gone() == identity
    assert bound.router.send([identity, b"x"]) is False
    assert await bound.end.next_gone() == identity


async def test_zeromq_understands_both(
    bound: Bound, context: "zmq.Context[Socket]", address: str, tmp_path: Path
) -> None:
    end = End()
    theirs = SocketPump(
        connected_dealer(context, bound.address, None), end.heard.put_nowait, end.writable.set
    )
    await sent(theirs, end, b"a", b"b" * 300)
    identity, *frames = await bound.end.next()
    assert frames == [b"a", b"b" * 300]
    assert bound.router.send([identity, b"c", b"d" * 65_536])
    assert await end.next() == [b"c", b"d" * 65_536]
    theirs.close()
    assert await bound.end.next_gone() == identity

    there = End()
    elsewhere = f"ipc://{tmp_path}/zmq"
    router = SocketPump(bound_router(context, elsewhere, None), there.heard.put_nowait)
    dealer = dialled(elsewhere, end)
    await sent(dealer, end, b"e")
    identity, *frames = await there.next()
    assert frames == [b"e"]
    assert router.send([identity, b"f", b"g" * 300])
    assert await end.next() == [b"f", b"g" * 300]
    dealer.close()
    await dealer.serving
    router.close()


async def test_the_last_word_is_read_although_we_wrote_to_who_has_left(bound: Bound) -> None:
    end = End()
    dealer = dialled(bound.address, end)
    await sent(dealer, end, b"hello")
    identity, _ = await bound.end.next()
    assert dealer.send([b"goodbye"])
    dealer.close()
    for _ in range(5):
        bound.router.send([identity, b"are you there?"])
    assert await bound.end.next() == [identity, b"goodbye"]
    assert await bound.end.next_gone() == identity
    async with asyncio.timeout(WAIT_S_MAX):
        await asyncio.wait([dealer.serving])


async def test_a_dealer_waits_for_who_comes_later_and_comes_again(address: str) -> None:
    end = End()
    dealer = dialled(address, end)
    assert dealer.send([b"too early"]) is False
    for _ in range(2):
        there = End()
        router = LoopRouter(address)
        router.open(there.heard.put_nowait, there.gone.put_nowait)
        await sent(dealer, end, b"now")
        identity, *frames = await there.next()
        assert frames == [b"now"]
        router.close()
        await router.deserted()
        assert router.send([identity, b"x"]) is False
        async with asyncio.timeout(WAIT_S_MAX):
            while dealer.send([b"x"]):
                await asyncio.sleep(0)
    dealer.close()


def test_no_connection_ends_of_silence_before_frontends_give_a_worker_up() -> None:
    assert connections.ROUTER_SILENCE_S_MAX > MISSED_S_MAX + connections.TICK_S


async def test_who_is_silent_is_asked_and_given_up(
    bound: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ROUTER_SILENCE_S_MAX", 3 * connections.TICK_S)
    reader, writer = await raw(bound.address)
    writer.write(GREETING + ready(b"DEALER") + packed([b"hello"]))
    await bound.end.next()
    await reader.readexactly(len(GREETING) + len(ready(b"ROUTER")))
    (peer,) = bound.router._peers.values()
    for _ in range(2):
        peer.tick()  # something was heard before the first one
    assert await reader.readexactly(len(PING)) == PING
    writer.write(b"\x04\x05\x04PONG")
    async with asyncio.timeout(WAIT_S_MAX):
        while not peer._heard:
            await asyncio.sleep(0.001)
    for _ in range(4):
        peer.tick()
    assert await reader.readexactly(2 * len(PING)) == 2 * PING
    async with asyncio.timeout(WAIT_S_MAX):
        assert not await reader.read()
    await bound.end.next_gone()
    writer.close()


async def test_who_asks_for_signs_of_life_and_reads_none_is_given_few(bound: Bound) -> None:
    _, writer = await raw(bound.address)
    writer.write(GREETING + ready(b"DEALER") + packed([b"hello"]))
    await bound.end.next()
    (peer,) = bound.router._peers.values()
    for _ in range(20):
        writer.write(PING * 100_000)
        await writer.drain()
    writer.write(packed([b"behind them"]))
    await bound.end.next()
    assert peer._transport is not None
    unsent_bytes = peer._transport.get_write_buffer_size()
    assert 0 < unsent_bytes < 2 * connections.PONG_BYTES_UNSENT_MAX
    writer.transport.abort()


async def test_an_ended_process_is_told_of_at_once(bound: Bound) -> None:
    _, writer = await raw(bound.address)
    writer.write(GREETING + ready(b"DEALER") + packed([b"hello"]) + packed([b"last"]))
    identity, _ = await bound.end.next()
    writer.transport.abort()
    assert await bound.end.next() == [identity, b"last"]
    assert await bound.end.next_gone() == identity


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", zmq.PROTOCOL_ERROR_ZMTP_UNSPECIFIED),
        (GREETING + ready(b"PUB"), zmq.PROTOCOL_ERROR_ZMTP_UNSPECIFIED),
        (GREETING + packed([b"early"]), zmq.PROTOCOL_ERROR_ZMTP_UNSPECIFIED),
        (
            GREETING[:12] + b"CURVE".ljust(20, b"\0") + GREETING[32:],
            zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH,
        ),
    ],
)
async def test_who_is_no_peer_is_shut_out_and_told_of(
    address: str, said: bytes, reason: int
) -> None:
    failures: asyncio.Queue[int] = asyncio.Queue()
    end = End()
    router = LoopRouter(address, on_failure=failures.put_nowait)
    router.open(end.heard.put_nowait, end.gone.put_nowait)
    reader, writer = await raw(address)
    writer.write(said)
    async with asyncio.timeout(WAIT_S_MAX):
        await reader.read()
        assert await failures.get() == reason
    assert end.heard.empty()
    writer.close()
    router.close()


async def test_a_key_on_one_side_alone_is_told(context: "zmq.Context[Socket]") -> None:
    failures: asyncio.Queue[int] = asyncio.Queue()
    address = f"tcp://127.0.0.1:{free_port()}"
    router = LoopRouter(address, on_failure=failures.put_nowait)
    router.open(lambda _: None, lambda _: None)
    keyed = connected_dealer(context, address, MeshKey(b"k" * 32))
    async with asyncio.timeout(WAIT_S_MAX):
        assert await failures.get() == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
    keyed.close(linger=0)
    router.close()


async def test_too_large_a_frame_ends_the_connection(bound: Bound) -> None:
    end = End()
    dealer = dialled(bound.address, end)
    await sent(dealer, end, b"hello")
    identity, _ = await bound.end.next()
    dealer.send([b"x" * 65_537])
    assert await bound.end.next_gone() == identity
    dealer.close()


async def test_of_too_many_newcomers_the_first_is_shut_out_and_who_speaks_stays() -> None:
    end, other = End(), End()
    address = f"tcp://127.0.0.1:{free_port()}"
    router = LoopRouter(address, newcomers_max=3)
    router.open(end.heard.put_nowait, end.gone.put_nowait)
    dealer = dialled(address, other)
    await sent(dealer, other, b"hello")
    identity, _ = await end.next()
    came = [await raw(address) for _ in range(5)]
    for reader, _ in came:
        await reader.readexactly(10)
    for reader, _ in came[:2]:
        async with asyncio.timeout(WAIT_S_MAX):
            await reader.read()
    assert not any(reader.at_eof() for reader, _ in came[2:])
    assert dealer.send([b"again"])
    assert await end.next() == [identity, b"again"]
    for _, writer in came:
        writer.close()
    dealer.close()
    router.close()


async def test_who_says_nothing_for_too_long_is_shut_out() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    router = LoopRouter(address, silent_s_max=0.05)
    router.open(lambda _: None, lambda _: None)
    reader, writer = await raw(address)
    async with asyncio.timeout(WAIT_S_MAX):
        await reader.read()
    writer.close()
    router.close()


async def test_a_defect_in_a_handler_does_not_keep_the_next_message(address: str) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    def handle(frames: Frames) -> None:
        if frames[1] == b"bad":
            raise RuntimeError("defect")
        heard.put_nowait(frames[1])

    router, end = LoopRouter(address), End()
    router.open(handle, lambda _: None)
    dealer = dialled(address, end)
    await sent(dealer, end, b"bad")
    assert dealer.send([b"good"])
    async with asyncio.timeout(WAIT_S_MAX):
        assert await heard.get() == b"good"
    dealer.close()
    router.close()


async def test_a_flood_is_read_in_turns_and_none_of_it_lost(
    bound: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MESSAGES_PER_TURN_MAX", 3)
    end = End()
    dealer = dialled(bound.address, end)
    await sent(dealer, end, b"0")
    for number in range(1, 100):
        assert dealer.send([b"%d" % number])
    dealer.close()
    assert [(await bound.end.next())[1] for _ in range(100)] == [b"%d" % n for n in range(100)]


async def test_what_waits_for_its_turn_where_an_answer_finds_nobody_is_handed_on_once(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MESSAGES_PER_TURN_MAX", 3)
    end, router, place = End(), LoopRouter(address), place_of(address)

    def handle(frames: Frames) -> None:
        theirs.close()
        router.send([frames[0], b"answer"])
        end.heard.put_nowait(frames[1:])

    with socket.socket(socket.AF_UNIX if isinstance(place, str) else socket.AF_INET) as theirs:
        theirs.connect(place)
        messages = [[b"%d" % number] for number in range(100)]
        theirs.sendall(GREETING + ready(b"DEALER") + b"".join(map(packed, messages)))
        router.open(handle, end.gone.put_nowait)
        await end.next_gone()
    assert [end.heard.get_nowait() for _ in range(end.heard.qsize())] == messages
    router.close()


async def test_no_more_is_kept_for_who_does_not_read_than_there_is_room_for(
    bound: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "UNSENT_BYTES_MAX", 100_000)
    reader, writer = await raw(bound.address)
    writer.write(GREETING + ready(b"DEALER") + packed([b"hello"]))
    identity, _ = await bound.end.next()
    count = 0
    while bound.router.send([identity, b"x" * 60_000]):
        count += 1
        assert count < 1_000
    async with asyncio.timeout(WAIT_S_MAX):
        await reader.readexactly(count * 60_000)
        while not bound.router.send([identity, b"y"]):
            await asyncio.sleep(0.001)
    writer.close()


async def test_a_place_that_is_taken_is_not_taken_away(bound: Bound) -> None:
    with pytest.raises((OSError, zmq.ZMQError)):
        LoopRouter(bound.address)


async def test_an_address_that_leaves_the_host_is_refused() -> None:
    for address in (
        "tcp://0.0.0.0:5550",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:x",
        "http://127.0.0.1:5550",
    ):
        with pytest.raises(StartError):
            place_of(address)


async def raw(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = place_of(address)
    if isinstance(place, str):
        return await asyncio.open_unix_connection(place)
    reader, writer = await asyncio.open_connection(*place)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    return reader, writer
