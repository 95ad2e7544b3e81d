"""Fetching media: from the hosts that were named, to addresses that were checked, within bounds."""

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from frontend.media import fetching
from frontend.media.bounds import MediaBounds
from frontend.media.fetching import Fetcher
from frontend.media.hosts import MediaHosts
from frontend.media.part import MediaSource
from protocol.errors import InvalidRequest

BOUNDS = MediaBounds(item_bytes_max=10_000, fetch_s_max=0.5, redirects_max=2)
UNTOLD = "The URL could not be fetched."
Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answer, at: str = "127.0.0.1") -> AsyncIterator[int]:
    """An HTTP server that answers the first line of a request so; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await answer(head.decode(), writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, at, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answering(body: bytes, *headers: str, status: str = "200 OK") -> Answer:
    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body)

    return answer


async def fetch(url: str, *hosts: str, bounds: MediaBounds = BOUNDS) -> bytes:
    return await Fetcher(MediaHosts(hosts), bounds).fetch(MediaSource("image", url, "p"))


async def refused(url: str, *hosts: str, bounds: MediaBounds = BOUNDS) -> str:
    with pytest.raises(InvalidRequest) as raised:
        await fetch(url, *hosts, bounds=bounds)
    assert raised.value.param == "p"
    return raised.value.message


async def test_a_picture_comes_from_a_host_that_was_named() -> None:
    asked: list[str] = []

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        asked.append(head)
        await answering(b"picture", "content-length: 7")(head, writer)

    async with serving(answer) as port:
        found = await fetch(f"http://127.0.0.1:{port}/a?b=c#d", f"127.0.0.1:{port}")
    assert found == b"picture"
    assert asked[0].startswith("GET /a?b=c HTTP/1.1\r\n")
    assert "accept-encoding: identity" in asked[0].lower()
    assert "cookie" not in asked[0].lower()


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/a",
        "http://user:secret@a.example/a",
        "http://a.example@127.0.0.1/a",
        "http://a.example:22/a",
        "http://127.0.0.1/a",
        "http://2130706433/a",
        "http://0x7f.1/a",
        "http://[::ffff:127.0.0.1]/a",
        "http://a.example.evil/a",
        "http://evil/?a.example",
        "http://a.example:0/a",
        "http://[::1%25lo]/a",
        "http://017700000001/a",
    ],
)
async def test_no_other_host_is_asked(url: str) -> None:
    assert "fetches nothing from that host" in await refused(url, "a.example")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/a",
        "file:///etc/passwd",
        "a",
        "",
        "http://a:b",
        "http:///a",
        "http://[",
        "//a.example/a",
        "http://a.example\uff0f@127.0.0.1/",
        "http://127.0.0.1%2f.a.example/",
    ],
)
async def test_no_other_scheme_is_known(url: str) -> None:
    assert "http or https" in await refused(url, "a.example")


@pytest.mark.parametrize(
    "url",
    ["http://a.example\\@127.0.0.1/", "http://a.example/a b", "http://a.example/" + "a" * 9_000],
)
async def test_what_could_be_read_in_two_ways_is_not_read(url: str) -> None:
    assert "too long, or has" in await refused(url, "a.example")


async def test_a_name_that_lies_inside_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[str] = []

    async def answer(_: str, __: asyncio.StreamWriter) -> None:
        connected.append("here")

    async with serving(answer) as port:
        names(monkeypatch, lambda _: ["1.1.1.1", "127.0.0.1"])
        assert await refused(f"http://a.example:{port}/", f"a.example:{port}") == UNTOLD
        names(monkeypatch, lambda _: ["127.0.0.1"])
        assert await refused(f"http://a.example:{port}/", f"a.example:{port}") == UNTOLD
    assert connected == []


async def test_what_is_connected_to_is_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name is asked for once: what it means a moment later does not matter."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    async with serving(answering(b"x", "content-length: 1")) as port:
        names(monkeypatch, lambda _: next(answers))
        listed = f"a.example:{port}=127.0.0.1/32"
        assert await fetch(f"http://A.Example.:{port}/", listed) == b"x"
        assert await refused(f"http://a.example:{port}/", listed) == UNTOLD


async def test_each_redirect_is_checked_like_the_first_url() -> None:
    for location in (
        "http://169.254.169.254/latest",
        "//localhost/",
        "file:///etc/passwd",
        "http://[",
        "data:;base64,AAAA",
    ):
        moved = answering(b"", f"Location: {location}", "content-length: 0", status="302 Found")
        async with serving(moved) as port:
            said = await refused(f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}")
            assert "fetches nothing" in said or "http or https" in said


async def test_redirects_are_followed_and_counted() -> None:
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        step = int(head.split()[1].rpartition("/")[2])
        if step:
            back = f"Location: /{step - 1}"  # as servers write it
            await answering(b"", back, "content-length: 0", status="307 Moved")(head, writer)
        else:
            await answering(b"x", "content-length: 1")(head, writer)

    async with serving(answer) as port:
        listed = f"127.0.0.1:{port}"
        assert await fetch(f"http://{listed}/2", listed) == b"x"
        assert await refused(f"http://{listed}/3", listed) == "The URL redirects too often."


async def test_what_urls_cannot_hold_is_escaped_like_in_a_browser() -> None:
    asked: list[str] = []

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        asked.append(head.split()[1])
        if len(asked) == 1:
            moved = "Location: /b\u00fccher x?ü"
            await answering(b"", moved, "content-length: 0", status="302 Found")(head, writer)
        else:
            await answering(b"x", "content-length: 1")(head, writer)

    async with serving(answer) as port:
        listed = f"127.0.0.1:{port}"
        assert await fetch(f"http://{listed}/\u00e9%20?q=\u00e9&r=a/b", listed) == b"x"
    assert asked == ["/%C3%A9%20?q=%C3%A9&r=a/b", "/b%C3%BCcher%20x?%C3%BC"]


async def test_an_address_of_version_six_is_named_in_brackets() -> None:
    heads: list[str] = []

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        await answering(b"x", "content-length: 1")(head, writer)

    async with serving(answer, "::1") as port:
        assert await fetch(f"http://[0:0::1]:{port}/", f"[::1]:{port}") == b"x"
    assert f"host: [::1]:{port}\r\n" in heads[0]


async def test_all_places_are_connections() -> None:
    """Who waits for a connection would wait on the time of his fetch."""
    all_here, here = asyncio.Event(), 0

    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        nonlocal here
        here += 1
        if here == BOUNDS.fetches_max:
            all_here.set()
        await all_here.wait()
        await answering(b"x", "content-length: 1")(head, writer)

    async with serving(answer) as port:
        fetcher = Fetcher(MediaHosts([f"127.0.0.1:{port}"]), MediaBounds())
        source = MediaSource("image", f"http://127.0.0.1:{port}/", "p")
        found = await asyncio.gather(*[fetcher.fetch(source) for _ in range(BOUNDS.fetches_max)])
    assert found == [b"x"] * BOUNDS.fetches_max


async def test_a_host_that_drips_keeps_nobody_from_another() -> None:
    hanging, over = asyncio.Semaphore(0), asyncio.Event()

    async def drip(_: str, writer: asyncio.StreamWriter) -> None:
        hanging.release()
        await over.wait()
        await answering(b"x", "content-length: 1")("", writer)

    good = answering(b"picture", "content-length: 7")
    async with serving(drip) as slow, serving(good) as port:
        fetcher = Fetcher(MediaHosts([f"127.0.0.1:{slow}", f"127.0.0.1:{port}"]), MediaBounds())
        source = MediaSource("image", f"http://127.0.0.1:{slow}/", "p")
        tasks = [asyncio.create_task(fetcher.fetch(source)) for _ in range(100)]
        for _ in range(BOUNDS.fetches_of_entry_max):
            await hanging.acquire()
        other = MediaSource("image", f"http://127.0.0.1:{port}/", "p")
        assert await fetcher.fetch(other) == b"picture"
        assert hanging.locked()  # nobody else of the slow host's was begun
        over.set()
        assert await asyncio.gather(*tasks) == [b"x"] * 100


async def test_tls_is_held_to_the_name_although_an_address_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hellos: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hellos.append(await reader.read(4_096))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        names(monkeypatch, lambda _: ["127.0.0.1"])
        listed = f"a.example:{port}=127.0.0.1/32"
        assert await refused(f"https://a.example:{port}/", listed) == UNTOLD
    assert b"a.example" in hellos[0]
    trusting = fetching._trusting()
    assert trusting.check_hostname
    assert trusting.verify_mode == ssl.CERT_REQUIRED
    assert fetching._trusting() is trusting  # to read the authorities takes 0.1 s


async def test_nothing_is_decompressed() -> None:
    packed = gzip.compress(bytes(1_000_000))
    gzipped = answering(packed, "content-encoding: gzip", f"content-length: {len(packed)}")
    async with serving(gzipped) as port:
        assert await fetch(f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}") == packed


async def test_bytes_are_bounded_whatever_the_headers_say() -> None:
    async def endless(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(1_000))
            await writer.drain()

    for answer in (endless, answering(bytes(20_000), "content-length: 20000")):
        async with serving(answer) as port:
            said = await refused(f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}")
            assert "at most 10000 bytes" in said


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oh", "204 No Content"])
async def test_what_is_no_answer_is_refused(status: str) -> None:
    async with serving(answering(b"", "content-length: 0", status=status)) as port:
        said = await refused(f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}")
    assert said == f"The URL could not be fetched: HTTP {status.split(maxsplit=1)[0]}."


async def test_failures_are_told_alike_so_that_nobody_learns_what_answers_there() -> None:
    over = asyncio.Event()

    async def silent(_: str, __: asyncio.StreamWriter) -> None:
        await over.wait()

    cut = answering(b"x", "content-length: 100")
    no_http = answering(b"", status="nonsense")
    short = MediaBounds(fetch_s_max=0.2)
    for answer in (silent, cut, no_http):
        async with serving(answer) as port:
            listed = f"127.0.0.1:{port}"
            assert await refused(f"http://{listed}/", listed, bounds=short) == UNTOLD
            over.set()
    assert await refused(f"http://{listed}/", listed, bounds=short) == UNTOLD  # nobody listens


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with serving(answering(b"x", "content-length: 1")) as port:
        assert await fetch(f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}") == b"x"


def names(monkeypatch: pytest.MonkeyPatch, lookup: Callable[[str], list[str]]) -> None:
    """Have names mean these addresses."""

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ([host] if host[0].isdigit() else lookup(host))
        ]

    monkeypatch.setattr(fetching.socket, "getaddrinfo", getaddrinfo)
