"""The media plane over real sockets, with memory that is read in the place of frames."""

import asyncio
import secrets
from collections.abc import Callable, Iterator

import pytest
import zmq

from protocol.media import Encoding
from protocol.media_plane import Encodings, FetchEncodings
from protocol.transport.sockets import Socket
from tests.unit.nixl.plane_bench import HandMemory
from workers.mesh.media_plane import MediaClient, MediaDoor

SIZE = 17_000_000
WAIT_S_MAX = 20.0
DATA = secrets.token_bytes(SIZE)


@pytest.fixture
def context() -> Iterator["zmq.Context[Socket]"]:
    context: zmq.Context[Socket] = zmq.Context()
    yield context
    context.destroy(linger=0)


class Sides:
    """A door and a client.

    Attributes:
        asked: what the door's source was asked, and by whom.
        less: told when less is being read.
    """

    def __init__(
        self, context: "zmq.Context[Socket]", encoder: HandMemory | None, fetcher: HandMemory | None
    ) -> None:
        self.asked: list[tuple[FetchEncodings, Callable[[Encodings], bool]]] = []
        self.less = asyncio.Event()
        self.answers: asyncio.Queue[Encodings] = asyncio.Queue()
        self.door = MediaDoor(
            context,
            self._on_fetch,
            frontends=["tcp://127.0.0.1:5550"],
            host=None,
            port=0,
            key=None,
            memory=encoder,
            on_read=self.less.set,
        )
        self.client = MediaClient(context, self.answers.put_nowait, None, fetcher)

    def _on_fetch(self, fetch: FetchEncodings, reply: Callable[[Encodings], bool]) -> None:
        self.asked.append((fetch, reply))
        reply(Encodings(fetch.request_id, pending=True))
        reply(Encodings(fetch.request_id, [Encoding("vectors", (1, 1, 4), 4, data=DATA)]))

    async def fetched(self, *, grids_only: bool = False) -> Encodings:
        self.client.ask(self.door.address(), FetchEncodings("1" * 32, grids_only))
        async with asyncio.timeout(WAIT_S_MAX):
            while (answer := await self.answers.get()).pending:
                pass
        return answer

    def close(self) -> None:
        self.client.close()
        self.door.close()


@pytest.mark.parametrize("both", [True, False])
async def test_it_is_read_where_both_can(context: "zmq.Context[Socket]", *, both: bool) -> None:
    encoder, fetcher = HandMemory(1 << 25), HandMemory(1 << 25) if both else None
    sides = Sides(context, encoder, fetcher)
    [encoding] = (await sides.fetched()).encodings
    assert encoding.data == DATA
    if fetcher is not None:
        assert fetcher.arena.lent_bytes > SIZE
        async with asyncio.timeout(WAIT_S_MAX):
            await sides.less.wait()
        assert sides.door.being_read == 0
    assert [fetch for fetch, _ in sides.asked] == [FetchEncodings("1" * 32)]
    sides.close()
    assert encoder.closed
    assert fetcher is None or fetcher.closed


async def test_an_encoder_without_nixl_sends_frames(context: "zmq.Context[Socket]") -> None:
    fetcher = HandMemory(1 << 25)
    sides = Sides(context, None, fetcher)
    assert [each.data for each in (await sides.fetched()).encodings] == [DATA]
    assert fetcher.arena.lent_bytes == 0
    sides.close()


async def test_who_needs_no_numbers_reads_none(context: "zmq.Context[Socket]") -> None:
    fetcher = HandMemory(1 << 25)
    sides = Sides(context, HandMemory(1 << 25), fetcher)
    await sides.fetched(grids_only=True)
    assert fetcher.arena.lent_bytes == 0
    sides.close()


async def test_one_that_asks_again_is_the_same_one(context: "zmq.Context[Socket]") -> None:
    fetcher = HandMemory(1 << 26)
    sides = Sides(context, HandMemory(1 << 26), fetcher)
    await sides.fetched()
    fetcher.place = ""  # as while it rests
    await sides.fetched()
    (_, first), (_, second) = sides.asked
    assert first == second
    sides.close()


async def test_it_comes_in_frames_when_it_cannot_be_read(context: "zmq.Context[Socket]") -> None:
    fetcher = HandMemory(1 << 25)
    fetcher.hand.fails = True
    sides = Sides(context, HandMemory(1 << 25), fetcher)
    assert [each.data for each in (await sides.fetched()).encodings] == [DATA]
    assert fetcher.arena.lent_bytes == 0
    sides.close()
