"""KV events over real sockets, as any client of SGLang's publisher would read them: SUB for what
happens, DEALER for what happened.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import zmq

from kv_events.sglang_wire import (
    REPLAY_END,
    AllBlocksCleared,
    BlockStored,
    EventBatch,
    decode_batch,
)
from protocol.process.start_error import StartError
from protocol.transport.sockets import Socket
from starter.ports import reserve_ports
from workers.kv_events_config import KvEventsConfig, read_config, stream_addresses, with_events
from workers.sim.engine import SimEngine
from workers.sim.faults import Faults
from workers.sim.pictures import SimPictures
from workers.sim.scheduling.kv_outlet import KvOutlet
from workers.sim.scheduling.namespace import PLAIN
from workers.sim.settings import read_settings

Requests = Callable[..., Any]


class Client:
    """A subscriber and asker of one rank, made of plain ZMQ: nothing here is kvmesh's own."""

    def __init__(self, context: "zmq.Context[Socket]", events: str, replay: str) -> None:
        self.live: list[list[bytes]] = []
        self._sub, self._dealer = context.socket(zmq.SUB), context.socket(zmq.DEALER)
        self._sub.setsockopt(zmq.SUBSCRIBE, b"")
        self._sub.connect(events)
        self._dealer.connect(replay)

    @property
    def numbers(self) -> list[int]:
        return [int.from_bytes(frames[1], "big") for frames in self.live]

    async def until(
        self, condition: Callable[[], bool], nudge: Callable[[], object] = bool
    ) -> None:
        """Take live batches until the condition holds; `nudge` is called before each wait."""
        async with asyncio.timeout(20):
            while not condition():
                nudge()
                if frames := await received(self._sub, milliseconds=20):
                    self.live.append(frames)

    async def replayed(self, start: bytes) -> list[list[bytes]]:
        """The answer without its end marker."""
        self._dealer.send_multipart([b"", start])
        messages: list[list[bytes]] = []
        async with asyncio.timeout(20):
            while not messages or messages[-1] != [b"", b"", REPLAY_END, b""]:
                if frames := await received(self._dealer, milliseconds=20):
                    messages.append(frames)
        assert all(len(frames) == 4 and frames[0] == b"" for frames in messages)
        return [frames[1:] for frames in messages[:-1]]

    def ask(self, frames: list[bytes]) -> None:
        self._dealer.send_multipart(frames)

    def close(self) -> None:
        self._sub.close(linger=0)
        self._dealer.close(linger=0)


async def received(source: Socket, *, milliseconds: int) -> list[bytes] | None:
    """The next message, waited for in a thread, so that the loop serves the other side
    meanwhile.
    """
    if await asyncio.to_thread(source.poll, milliseconds):
        return source.recv_multipart(zmq.DONTWAIT)
    return None


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[[str, int], Client]]:
    """client_of(configuration, rank)."""
    context = zmq.Context[Socket]()
    clients: list[Client] = []

    def connect(config: str, rank: int = 0) -> Client:
        (address,) = stream_addresses(read_config(config), [rank])
        assert address.replay is not None
        clients.append(Client(context, address.events, address.replay))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()
    context.term()


async def test_live_and_replayed_batches_are_the_same_three_frames(
    started: Any, request_for: Requests, answers: Any, client_of: Callable[..., Client]
) -> None:
    config = read_config(with_events(None))
    given = KvEventsConfig(
        publisher="zmq",
        bind=True,
        endpoint=config.endpoint,
        replay_endpoint=config.replay_endpoint,
        topic="kv",
    ).as_json()
    engine = await started("--dp-size", "2", "--page-size", "4", "--kv-events-config", given)
    client, number = client_of(given, 1), iter(range(1000))

    def run_one() -> None:
        count = next(number)
        engine.submit(
            request_for(count, [count % 200] * 8, 1, routed_dp_rank=1, lora_name="adapter")
        )

    # the subscription takes a moment to stand
    await client.until(lambda: bool(client.live), run_one)
    await client.until(lambda: len(client.live) >= 10, run_one)
    last = client.numbers[-1]
    replayed = [
        frames
        for frames in await client.replayed(bytes(8))
        if int.from_bytes(frames[1], "big") <= last
    ]
    assert [frames[1] for frames in replayed] == [
        count.to_bytes(8, "big") for count in range(last + 1)
    ]
    assert client.live == replayed[client.numbers[0] :]
    assert {frames[0] for frames in replayed} == {b"kv"}
    first, *later = [decode_batch(frames[2]) for frames in replayed]
    assert first.events == [AllBlocksCleared()]
    assert {batch.attn_dp_rank for batch in (first, *later)} == {1}
    assert all(
        isinstance(event, BlockStored) and event.lora_name == "adapter"
        for batch in later
        for event in batch.events
    )
    moments = [batch.ts for batch in (first, *later)]
    assert moments == sorted(moments)
    assert time.time() - 60 < moments[0] <= moments[-1] <= time.time()
    # From the middle, from beyond the end, and of the other rank.
    assert [frames[1] for frames in await client.replayed((last - 2).to_bytes(8, "big"))][:3] == [
        count.to_bytes(8, "big") for count in range(last - 2, last + 1)
    ]
    assert await client.replayed((2**40).to_bytes(8, "big")) == []
    other = client_of(given, 0)
    assert [decode_batch(frames[2]) for frames in await other.replayed(bytes(8))] == [
        EventBatch(pytest.approx(time.time(), abs=60), [AllBlocksCleared()], 0)
    ]


@pytest.fixture
async def publishing(client_of: Callable[..., Client]) -> AsyncIterator[Callable[..., Any]]:
    """await publishing(**config) gives (outlet, its faults, a client that is subscribed)."""
    context, outlets = zmq.Context[Socket](), list[KvOutlet]()

    async def publish(**config: Any) -> tuple[KvOutlet, Faults, Client]:
        base, faults = reserve_ports(2), Faults()
        wanted = KvEventsConfig(
            publisher="zmq",
            bind=True,
            endpoint=f"tcp://127.0.0.1:{base}",
            replay_endpoint=f"tcp://127.0.0.1:{base + 1}",
            **config,
        )
        outlet = KvOutlet(
            context, wanted, 0, page_size=1, steps_max=40, faults=faults, pictures=SimPictures()
        )
        outlets.append(outlet)
        client = client_of(wanted.as_json())
        await client.until(lambda: bool(client.live), lambda: say(outlet))
        await client.until(lambda: client.numbers[-1] == outlet._next - 1)
        client.live.clear()
        return outlet, faults, client

    yield publish
    for outlet in outlets:
        outlet.close()
    context.term()


def say(outlet: KvOutlet, batches: int = 1) -> None:
    for _ in range(batches):
        outlet.removed([outlet._next])
        outlet.flush()


@pytest.mark.parametrize("fault", ["kv-drop", "kv-duplicate", "kv-swap"])
async def test_a_fault_changes_what_is_sent_and_not_what_is_replayed(
    publishing: Callable[..., Any], fault: str
) -> None:
    outlet, faults, client = await publishing()
    first = outlet._next
    faults.arm(f"{fault}=3")
    say(outlet, 12)
    faults.arm("clear")
    say(outlet)  # whatever was held back comes after this one
    numbers = list(range(first, first + 13))
    hit = [number for number in numbers[:-1] if number % 3 == 0]
    expected = [number for number in numbers if number not in hit]
    for number in hit:
        if fault == "kv-duplicate":
            expected += [number, number]
        elif fault == "kv-swap":
            expected.insert(expected.index(number + 1) + 1, number)
    if fault == "kv-duplicate":
        expected.sort()
    await client.until(lambda: len(client.live) >= len(expected))
    assert client.numbers == expected
    replayed = await client.replayed(first.to_bytes(8, "big"))
    assert [int.from_bytes(frames[1], "big") for frames in replayed] == numbers


async def test_as_many_batches_are_kept_as_was_asked_for(publishing: Callable[..., Any]) -> None:
    outlet, _, client = await publishing(buffer_steps=3)
    say(outlet, 10)
    assert [int.from_bytes(frames[1], "big") for frames in await client.replayed(bytes(8))] == [
        outlet._next - left for left in (3, 2, 1)
    ]


async def test_a_question_of_another_shape_is_not_answered(publishing: Callable[..., Any]) -> None:
    _, _, client = await publishing()
    for frames in ([b"lonely"], [b"", bytes(8), b"too much"]):
        client.ask(frames)
    # A number beyond every batch, of any length: nothing but the end, and nothing of the questions
    # before.
    assert await client.replayed(b"any length") == []


async def test_a_reader_that_stands_still_does_not_hold_up_the_end(
    started: Any, client_of: Callable[..., Client]
) -> None:
    config = with_events(None)
    engine = await started("--kv-events-config", config)
    (outlet,) = engine._outlets
    for _ in range(300):  # 30 MB, more than the sockets of both sides take
        outlet.stored(None, [outlet._next], bytes(400_000), PLAIN)
        outlet.flush()
    client = client_of(config)
    client._dealer.setsockopt(zmq.RCVHWM, 1)
    client.ask([b"", bytes(8)])
    assert await asyncio.to_thread(client._dealer.poll, 5_000)
    begun = time.perf_counter()
    await engine.stop()
    assert time.perf_counter() - begun < 0.25


def engine_with(model_dir: Any, config: str) -> SimEngine:
    return SimEngine(
        read_settings(
            ["--model-path", str(model_dir), "--dp-size", "2", "--kv-events-config", config]
        )
    )


NOT_USABLE = {
    "publisher": '{"publisher": "kafka"}',
    "truncated": '{"publisher": "zm',
    "tcp://HOST:PORT": '{"publisher": "zmq", "bind": true, "endpoint": "tcp://127.0.0.1:http"}',
    "port for rank 1": '{"publisher": "zmq", "bind": true, "endpoint": "tcp://127.0.0.1:65535"}',
    "stay on the host": '{"publisher": "zmq", "bind": true, "endpoint": "tcp://192.0.2.1:5557"}',
    "instead of binding it": '{"publisher": "zmq", "endpoint": "tcp://127.0.0.1:5557"}',
    "stay on the host, and tcp://192.0.2.1": (
        '{"publisher": "zmq", "endpoint": "tcp://*:FREE", "replay_endpoint": '
        '"tcp://192.0.2.1:5559"}'
    ),
    ">= 1 - at `$.buffer_steps`": (
        '{"publisher": "zmq", "endpoint": "tcp://*:FREE", "buffer_steps": -1}'
    ),
    ">= 0 - at `$.hwm`": '{"publisher": "zmq", "endpoint": "tcp://*:FREE", "hwm": -1}',
    "<= 2147483647 - at `$.hwm`": (
        '{"publisher": "zmq", "endpoint": "tcp://*:FREE", "hwm": 1000000000000}'
    ),
}


@pytest.mark.parametrize("why", NOT_USABLE)
async def test_a_configuration_that_cannot_be_used_is_one_line(model_dir: Any, why: str) -> None:
    engine = engine_with(model_dir, NOT_USABLE[why].replace("FREE", str(reserve_ports(2))))
    with pytest.raises(StartError) as raised:
        await engine.start(lambda deltas: None, pytest.fail)
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
async def test_a_taken_port_is_one_line_and_leaves_nothing_behind(
    model_dir: Any, taken: int
) -> None:
    loop, defects = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: defects.append(context))
    base = reserve_ports(4)
    config = KvEventsConfig(
        publisher="zmq",
        bind=True,
        endpoint=f"tcp://127.0.0.1:{base}",
        replay_endpoint=f"tcp://127.0.0.1:{base + 2}",
    ).as_json()
    with (
        socket.create_server(("127.0.0.1", base + taken)),
        pytest.raises(StartError, match=f"rank {taken % 2}.*in use") as raised,
    ):
        await engine_with(model_dir, config).start(lambda deltas: None, pytest.fail)
    assert "\n" not in str(raised.value)
    # what was open is closed, so the same ports serve a second try
    engine = engine_with(model_dir, config)
    await engine.start(lambda deltas: None, pytest.fail)
    await engine.stop()
    assert not defects


async def test_no_events_without_a_publisher(started: Any) -> None:
    assert (await started())._outlets == []
    assert (await started("--kv-events-config", '{"publisher": "null"}'))._outlets == []
