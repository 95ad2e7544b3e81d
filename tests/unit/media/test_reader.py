"""The media of a request: read together, in order, within the bounds of all."""

import asyncio
import base64
from hashlib import sha256

import pytest

from frontend.media.bounds import MediaBounds
from frontend.media.part import MediaSource
from frontend.media.reader import MediaReader
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
