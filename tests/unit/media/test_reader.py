"""The media of a request: read together, in order, within the bounds of all."""

import asyncio
import base64
import threading
from hashlib import sha256
from typing import Any

import pytest

from frontend.media import reader as reading_media
from frontend.media.bounds import MediaBounds
from frontend.media.part import MediaSource
from frontend.media.reader import LARGE_BYTES, MediaReader
from protocol.errors import InvalidRequest, Overloaded
from tests.fleet.pictures import data_url, picture

RED, BLUE = picture("red", (30, 20)), picture("blue", (40, 20))


class Net:
    """Has pictures behind URLs; each is handed out once all were asked for."""

    def __init__(self, **behind: bytes) -> None:
        self._behind = behind
        self._asked: set[str] = set()
        self._all = asyncio.Event()

    async def fetch(self, source: MediaSource) -> bytes:
        self._asked.add(source.url)
        if len(self._asked) == len(self._behind):
            self._all.set()
        await self._all.wait()
        return self._behind[source.url]


def sources(*urls: str) -> list[MediaSource]:
    return [MediaSource("image", url, f"p{at}") for at, url in enumerate(urls)]


async def test_pictures_come_in_order_with_sizes_and_digests() -> None:
    held: list[int] = []
    reader = MediaReader(MediaBounds(), Net(a=BLUE, b=RED))
    items = await reader.read(sources("a", data_url(RED), "b"), held.append)
    assert [(item.data, item.width, item.height, item.param) for item in items] == [
        (BLUE, 40, 20, "p0"),
        (RED, 30, 20, "p1"),
        (RED, 30, 20, "p2"),
    ]
    assert items[1].digest == items[2].digest != items[0].digest
    assert items[1].digest == int.from_bytes(sha256(RED).digest()[:8], "big") & (2**63 - 1)
    assert sorted(held) == sorted([len(BLUE), len(RED)])  # the body had the third already


@pytest.mark.parametrize(
    ("bounds", "param"),
    [
        (MediaBounds(items_max=2), "p2"),
        (MediaBounds(item_bytes_max=10), "p0"),
        (MediaBounds(request_bytes_max=2 * len(RED)), "p2"),
        (MediaBounds(pixels_max=599), "p0"),
    ],
)
async def test_what_is_beyond_a_bound_is_named(bounds: MediaBounds, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await MediaReader(bounds).read(sources(*[data_url(RED)] * 3), lambda _: None)
    assert raised.value.param == param


async def test_without_hosts_nothing_is_fetched() -> None:
    with pytest.raises(InvalidRequest, match="fetches nothing") as raised:
        await MediaReader(MediaBounds()).read(sources("http://a.example/"), lambda _: None)
    assert raised.value.param == "p0"


async def test_what_there_is_no_room_for_is_not_kept() -> None:
    def full(_: int) -> None:
        raise Overloaded("full")

    with pytest.raises(Overloaded):
        await MediaReader(MediaBounds(), Net(a=RED)).read(sources("a"), full)


async def test_damage_is_named_by_its_place() -> None:
    broken = "data:;base64," + base64.b64encode(b"no picture").decode()
    with pytest.raises(InvalidRequest, match="not PNG") as raised:
        await MediaReader(MediaBounds()).read(sources(data_url(RED), broken), lambda _: None)
    assert raised.value.param == "p1"


class Slow:
    """Has the same behind every URL, and hands out when told to."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.asked: list[str] = []
        self.under_way = 0
        self.most = 0
        self.go = asyncio.Event()

    async def fetch(self, source: MediaSource) -> bytes:
        self.asked.append(source.url)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.go.wait()
            await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        return self._data


async def test_what_is_named_twice_is_fetched_once() -> None:
    net, held = Slow(RED), list[int]()
    net.go.set()
    items = await MediaReader(MediaBounds(), net).read(sources("a", "b", "a"), held.append)
    assert sorted(net.asked) == ["a", "b"]
    assert [item.param for item in items] == ["p0", "p1", "p2"]
    assert held == [len(RED)] * 2


async def test_one_request_has_not_all_places() -> None:
    net, bounds = Slow(RED), MediaBounds(fetches_of_one_max=3)
    reading = asyncio.ensure_future(
        MediaReader(bounds, net).read(sources(*"abcdefgh"), lambda _: None)
    )
    while net.under_way < 3:
        await asyncio.sleep(0)
    net.go.set()
    assert len(await reading) == 8
    assert net.most == 3


async def test_no_more_is_fetched_than_a_request_may_have() -> None:
    net, held = Slow(RED), list[int]()
    net.go.set()
    bounds = MediaBounds(request_bytes_max=2 * len(RED), fetches_of_one_max=1)
    with pytest.raises(InvalidRequest, match="together") as raised:
        await MediaReader(bounds, net).read(sources(*"abcdefgh"), held.append)
    assert raised.value.param == "p2"
    assert held == [len(RED)] * 2
    assert len(net.asked) <= 4


async def test_what_is_named_twice_counts_twice_before_it_is_kept() -> None:
    net, held = Slow(RED), list[int]()
    net.go.set()
    bounds = MediaBounds(request_bytes_max=2 * len(RED) - 1)
    with pytest.raises(InvalidRequest, match="together") as raised:
        await MediaReader(bounds, net).read(sources("a", "a"), held.append)
    assert (raised.value.param, held) == ("p1", [])


@pytest.mark.parametrize("too_much", [0, 1])
async def test_what_is_fetched_and_what_the_body_holds_count_together_and_once(
    too_much: int,
) -> None:
    named = sources(data_url(BLUE), "a", data_url(RED), "b")
    bounds = MediaBounds(request_bytes_max=2 * (len(RED) + len(BLUE)) - too_much)
    reading = MediaReader(bounds, Net(a=BLUE, b=RED)).read(named, lambda _: None)
    if too_much:
        with pytest.raises(InvalidRequest, match="together") as raised:
            await reading
        assert raised.value.param == "p2"
    else:
        assert [item.data for item in await reading] == [BLUE, BLUE, RED, RED]


async def test_who_leaves_has_nothing_fetched_any_more() -> None:
    net = Slow(RED)
    reading = asyncio.ensure_future(
        MediaReader(MediaBounds(), net).read(sources("a", "b"), lambda _: None)
    )
    while net.under_way < 2:
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.sleep(0)
    assert net.under_way == 0


async def test_videos_and_sounds_are_fewer_than_pictures() -> None:
    """What a worker makes of one is large, however few its bytes are."""
    reader = MediaReader(MediaBounds())
    url = data_url(b"\0\0\0\x20ftypisom", "video/mp4")
    named = [MediaSource("video", url, f"p{at}") for at in range(9)]
    pictures = [MediaSource("image", data_url(RED), "picture")]
    assert len(await reader.read([*pictures, *named[:8]], [].append)) == 9
    with pytest.raises(InvalidRequest, match="at most 8 videos and sounds") as raised:
        await reader.read([*named, *pictures], [].append)
    assert raised.value.param == "p8"


async def test_large_ones_are_read_one_by_one_and_small_ones_pass_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More threads would take the interpreter from each other and from the loop."""
    begun, go = threading.Semaphore(0), threading.Event()
    read_header = reading_media.read_header

    def slow(data: bytes, *rest: Any, **options: Any) -> Any:
        if len(data) > len(RED):
            begun.release()
            assert go.wait(30)
        return read_header(data, *rest, **options)

    monkeypatch.setattr(reading_media, "read_header", slow)
    reader = MediaReader(MediaBounds())
    large = sources(data_url(RED + bytes(LARGE_BYTES)))
    many = [asyncio.create_task(reader.read(large, lambda _: None)) for _ in range(6)]
    assert await asyncio.to_thread(begun.acquire, timeout=30)
    assert len(await reader.read(sources(data_url(RED)), lambda _: None)) == 1
    assert not begun.acquire(blocking=False)
    go.set()
    assert [len(each) for each in await asyncio.gather(*many)] == [1] * 6
