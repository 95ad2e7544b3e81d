"""Workers fetch encodings over real sockets, whatever becomes of the connection."""

import asyncio
import math
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import zmq

from protocol.media import Encoding
from protocol.media_plane import Encodings, FetchEncodings, encode_encodings, encode_question
from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey
from protocol.transport.pump import SocketPump
from protocol.transport.sockets import Socket, asking_dealer, bound_router
from tests.unit.encoding.encoder_bench import made_of, named
from workers.mesh import media_plane
from workers.mesh.media_plane import MediaClient, MediaDoor

WAIT_S_MAX = 20.0
LOCAL = "tcp://127.0.0.1:5550"
OPEN = "tcp://192.0.2.1:5550"


@pytest.fixture
def context() -> Iterator["zmq.Context[Socket]"]:
    context: zmq.Context[Socket] = zmq.Context()
    yield context
    context.destroy(linger=0)


def door(
    context: "zmq.Context[Socket]",
    *,
    port: int = 0,
    data: bytes = b"",
    key: MeshKey | None = None,
    frontend: str = LOCAL,
    heard: Callable[[FetchEncodings], None] = lambda _: None,
) -> MediaDoor:
    """One that answers at once."""

    def on_fetch(fetch: FetchEncodings, reply: Callable[[Encodings], bool]) -> None:
        heard(fetch)
        made = Encoding("vectors", (1, 1, 2), 1, data=data) if data else made_of(1)
        reply(Encodings(fetch.request_id, [made]))

    return MediaDoor(context, on_fetch, frontends=[frontend], host="127.0.0.1", port=port, key=key)


class Fetcher:
    """A client that asks until it is answered."""

    def __init__(self, context: "zmq.Context[Socket]", key: MeshKey | None = None) -> None:
        self.answers: asyncio.Queue[Encodings] = asyncio.Queue()
        self.client = MediaClient(context, self.answers.put_nowait, key)

    async def fetched(self, address: str, number: int) -> Encodings:
        async with asyncio.timeout(WAIT_S_MAX):
            while True:
                self.client.ask(address, FetchEncodings(named(number)))
                try:
                    async with asyncio.timeout(0.5):
                        while (answer := await self.answers.get()).request_id != named(number):
                            pass
                        return answer
                except TimeoutError:
                    continue


async def test_a_large_answer_arrives_whole_and_the_way_is_known_to_live(
    context: "zmq.Context[Socket]",
) -> None:
    data = secrets.token_bytes(5_000_000)
    open_door, fetcher = door(context, data=data), Fetcher(context)
    address = open_door.address()
    begun_at = asyncio.get_running_loop().time()
    assert fetcher.client.heard_at(address) == 0.0
    [encoding] = (await fetcher.fetched(address, 1)).encodings
    assert encoding.data == data
    assert fetcher.client.heard_at(address) > begun_at
    fetcher.client.close()
    open_door.close()


async def test_a_door_that_opens_again_is_found_again(context: "zmq.Context[Socket]") -> None:
    first, fetcher = door(context), Fetcher(context)
    address = first.address()
    assert (await fetcher.fetched(address, 1)).encodings
    first.close()
    port = int(address.rpartition(":")[2])
    while True:
        try:
            second = door(context, port=port)
            break
        except StartError:  # the first one is still closing
            await asyncio.sleep(0.01)
    assert (await fetcher.fetched(address, 2)).encodings
    fetcher.client.close()
    second.close()


async def test_two_askers_of_one_connection_are_one_and_of_another_one_are_not(
    context: "zmq.Context[Socket]",
) -> None:
    replies: list[Callable[[Encodings], bool]] = []
    heard: asyncio.Queue[None] = asyncio.Queue()

    def on_fetch(_: FetchEncodings, reply: Callable[[Encodings], bool]) -> None:
        replies.append(reply)
        heard.put_nowait(None)

    open_door = MediaDoor(context, on_fetch, frontends=[LOCAL], host=None, port=0, key=None)
    first, second = Fetcher(context), Fetcher(context)
    async with asyncio.timeout(WAIT_S_MAX):
        for client in (first.client, first.client, second.client):
            client.ask(open_door.address(), FetchEncodings(named(1)))
            await heard.get()
    assert replies[0] == replies[1] != replies[2]
    second.client.close()
    async with asyncio.timeout(WAIT_S_MAX):
        while replies[2](Encodings(named(1))):  # until the other end's going is noticed
            await asyncio.sleep(0.01)
    assert replies[0](Encodings(named(1)))
    first.client.close()
    open_door.close()


async def test_what_is_no_question_costs_the_door_nothing(
    context: "zmq.Context[Socket]", caplog: pytest.LogCaptureFixture
) -> None:
    open_door, fetcher = door(context), Fetcher(context)
    stranger = SocketPump(asking_dealer(context, open_door.address(), None), lambda _: None)
    question = encode_question(FetchEncodings(named(1)))
    for frames in ([b""], [b"\x07", question[1]], [question[0]], [*question, b"x"], [b"x"] * 9):
        for _ in range(20):
            assert stranger.send(frames)
    assert (await fetcher.fetched(open_door.address(), 1)).encodings
    said = [each for each in caplog.records if "malformed question" in each.getMessage()]
    assert len(said) <= 1  # however many there were
    stranger.close()
    fetcher.client.close()
    open_door.close()


async def test_what_is_no_answer_costs_who_fetches_nothing(
    context: "zmq.Context[Socket]", caplog: pytest.LogCaptureFixture
) -> None:
    socket = bound_router(context, "tcp://127.0.0.1:*", None)
    answer = encode_encodings(Encodings(named(1), [made_of(1)]))
    wrong = [[b""], [b"\x07", *answer[1:]], answer[:-1], [*answer, b"x"], [answer[0], b"\xc1"]]

    def on_question(frames: list[bytes]) -> None:
        for each in (*wrong, answer):
            pump.send([frames[0], *each])

    pump = SocketPump(socket, on_question)
    fetcher = Fetcher(context)
    address = socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
    assert (await fetcher.fetched(address, 1)).encodings == [made_of(1)]
    assert sum("malformed encodings" in each.getMessage() for each in caplog.records) == 1
    fetcher.client.close()
    pump.close()


async def test_a_stranger_without_the_key_is_not_heard(
    context: "zmq.Context[Socket]", tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_text(secrets.token_hex(32))
    key, same = MeshKey.from_file(str(path)), MeshKey.from_file(str(path))
    assert key is not None
    assert same is not None
    with context.socket(zmq.ROUTER) as socket:
        await asyncio.to_thread(key.protect_server, socket)  # starts a thread and waits for it
    heard: list[str] = []
    open_door = door(context, key=key, heard=lambda fetch: heard.append(fetch.request_id))
    stranger, fetcher = Fetcher(context), Fetcher(context, same)
    stranger.client.ask(open_door.address(), FetchEncodings(named(9)))
    assert (await fetcher.fetched(open_door.address(), 1)).encodings
    assert set(heard) == {named(1)}
    assert stranger.answers.empty()
    for each in (stranger, fetcher):
        each.client.close()
    open_door.close()
    await asyncio.to_thread(key.close)


async def test_without_a_key_nothing_is_handed_to_other_hosts_nor_fetched_there(
    context: "zmq.Context[Socket]", caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StartError, match="needs a key"):
        door(context, frontend=OPEN)
    fetcher = Fetcher(context)
    for address in (OPEN, "nonsense"):
        fetcher.client.ask(address, FetchEncodings(named(1)))
    assert len(caplog.records) == 2
    fetcher.client.close()


async def test_more_doors_than_are_kept_are_all_fetched_from(
    context: "zmq.Context[Socket]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_plane, "ENCODERS_MAX", 3)
    doors = [door(context) for _ in range(8)]
    fetcher = Fetcher(context)
    for turn in range(2):
        for number, each in enumerate(doors):
            assert (await fetcher.fetched(each.address(), 100 * turn + number)).encodings
            assert len(fetcher.client._pumps) <= 3
            assert set(fetcher.client._heard_at) <= set(fetcher.client._pumps)
    fetcher.client.close()
    for each in doors:
        each.close()


async def test_a_frame_may_take_longer_than_a_peer_may_be_silent(
    context: "zmq.Context[Socket]",
) -> None:
    """ZMQ tells a slow frame from silence only by its end."""
    data = bytes(12_000_000)
    open_door, fetcher = door(context, data=data), Fetcher(context)
    async with _slow_way(int(open_door.address().rpartition(":")[2])) as (address, connections):
        fetcher.client.ask(address, FetchEncodings(named(1)))
        async with asyncio.timeout(WAIT_S_MAX):
            [encoding] = (await fetcher.answers.get()).encodings
        assert encoding.data == data
        assert len(connections) == 1
    fetcher.client.close()
    open_door.close()


@asynccontextmanager
async def _slow_way(port: int) -> AsyncIterator[tuple[str, list[None]]]:
    """An address behind which is that of a port, three megabytes a second away."""
    connections: list[None] = []
    tasks: list[asyncio.Task[None]] = []

    async def pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_s: float
    ) -> None:
        with closing(writer):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(len(data) / bytes_s)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(None)
        answers, questions = await asyncio.open_connection("127.0.0.1", port)
        tasks.append(asyncio.create_task(pass_on(reader, questions, math.inf)))
        tasks.append(asyncio.create_task(pass_on(answers, writer, 3_000_000)))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    async with server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", connections
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
