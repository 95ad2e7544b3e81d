"""What a body may cost beside its own bytes, and how long it may be awaited.

What comes in one read with the last bytes of a body (256 KB) is not counted.
"""

import asyncio

import pytest

from frontend.http import guarded_protocol
from tests.unit.http.echoing import CLOSE, START, answer_to, error_of, rest_of

CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
WANTED = [
    b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQ\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
]


async def test_trailers_are_no_headers(connect):
    request = START + CLOSE + CHUNKED + b"2\r\nab\r\n0\r\nx-request-id: smuggled\r\n\r\n"
    assert (await answer_to(connect, request)).endswith(b"\r\n\r\n2 3")


@pytest.mark.parametrize(
    "trailer", [b"a: b\r\n" * 1_000, b"a: " + b"b" * 10_000 + b"\r\n", b"a" * 997]
)
async def test_trailers_without_end_are_refused(connect, trailer):
    pieces = [trailer] * (10 * guarded_protocol.HEADER_BYTES_MAX // len(trailer))
    answer = await answer_to(connect, START + CHUNKED + b"2\r\nab\r\n", b"0\r\n", *pieces)
    assert error_of(answer, 431)["code"] == "headers_too_large"


async def test_chunks_may_be_as_small_as_they_like(connect):
    chunks = [b"1\r\nx\r\n" * 5_000] * 4
    answer = await answer_to(connect, START + CLOSE + CHUNKED, *chunks, b"0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n20000 3")


@pytest.mark.parametrize("wanted", WANTED)
async def test_a_request_that_would_rather_speak_something_else_is_answered(connect, wanted):
    """As those of Java's HttpClient and of curl --http2."""
    reader, writer = await connect()
    for body_apart in (False, True, False):
        head = START + wanted + b"content-length: 5\r\n\r\n"
        writer.write(head if body_apart else head + b"hello")
        if body_apart:
            await asyncio.sleep(0)
            writer.write(b"hello")
        await reader.readuntil(b"\r\n\r\n5 2")


async def test_a_body_behind_a_wish_to_upgrade_is_no_request(connect):
    body = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    head = START + WANTED[0] + b"content-length: %d\r\n\r\n" % len(body)
    reader, writer = await connect()
    writer.write(head)
    writer.write(body)
    await reader.readuntil(b"\r\n\r\n%d 2" % len(body))
    writer.write_eof()
    assert await reader.read() == b""


async def test_several_may_wish_to_upgrade_in_one_read(connect):
    reader, writer = await connect()
    bodies = [b"x" * size for size in (5, 0, 3)]
    head = START + WANTED[0] + b"content-length: %d\r\n\r\n"
    writer.write(b"".join(head % len(body) + body for body in bodies))
    for body in bodies:
        await reader.readuntil(b"\r\n\r\n%d 2" % len(body))


async def test_a_wish_to_upgrade_may_come_in_pieces(connect):
    request = START + WANTED[0] + b"content-length: 5\r\n\r\nhello"
    reader, writer = await connect()
    for at in range(len(request)):
        writer.write(request[at : at + 1])
        await asyncio.sleep(0)
    await reader.readuntil(b"\r\n\r\n5 2")


async def test_a_wish_to_upgrade_and_to_close_is_half_granted(connect):
    request = START + b"connection: close, Upgrade\r\nupgrade: h2c\r\ncontent-length: 1\r\n\r\nx"
    assert (await answer_to(connect, request)).endswith(b"\r\n\r\n1 3")


async def test_this_is_no_proxy(connect):
    error_of(await answer_to(connect, b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n"), 400)


async def test_a_body_that_never_begins_is_not_awaited(connect, monkeypatch, handlers_ended):
    monkeypatch.setattr(guarded_protocol, "BODY_WAIT_S_MAX", 0.02)
    answer = await answer_to(connect, START + b"content-length: 4\r\n\r\n")
    assert error_of(answer, 408)["code"] == "body_timeout"


async def test_a_body_behind_another_request_is_awaited_once_that_is_answered(
    connect, monkeypatch, handlers_ended
):
    monkeypatch.setattr(guarded_protocol, "BODY_WAIT_S_MAX", 0.02)
    reader, writer = await connect()
    writer.write(b"GET /wait HTTP/1.1\r\n\r\n" + START + b"content-length: 4\r\n\r\n")
    await reader.readuntil(b"begun\r\n")
    with pytest.raises(TimeoutError):  # what is tested is the passing of time itself
        async with asyncio.timeout(0.1):
            await reader.read(1)
    late = START + b"content-length: 4\r\n\r\n"
    answer = await answer_to(connect, START + b"content-length: 1\r\n\r\nx" + late)
    first, _, second = answer.partition(b"\r\n\r\n1 2")
    assert first.startswith(b"HTTP/1.1 200")
    assert error_of(second, 408)["code"] == "body_timeout"


async def test_the_rest_of_a_body_is_not_awaited_for_ever_behind_its_answer(connect, monkeypatch):
    monkeypatch.setattr(guarded_protocol, "BODY_WAIT_S_MAX", 0.02)
    reader, writer = await connect()
    writer.write(b"POST /at-once HTTP/1.1\r\ncontent-length: 4\r\n\r\nx")
    assert (await rest_of(reader)).endswith(b"\r\n\r\nat once")


async def test_a_connection_is_kept_where_the_rest_of_a_body_comes_behind_its_answer(connect):
    reader, writer = await connect()
    writer.write(b"POST /at-once HTTP/1.1\r\ncontent-length: 4\r\n\r\nx")
    await reader.readuntil(b"at once")
    writer.write(b"xxx" + START + b"content-length: 1\r\n\r\nx")
    await reader.readuntil(b"\r\n\r\n1 2")


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\n", b"1\r\nxx\r\n"])
async def test_a_body_that_is_none_is_said_to_be_none(connect, chunk):
    answer = await answer_to(connect, START + CHUNKED, chunk)
    assert error_of(answer, 400)["code"] == "invalid_http_request"


async def test_only_http_1_1_is_told_to_continue(connect):
    expects = b"expect: 100-continue\r\ncontent-length: 1\r\n\r\n"
    reader, writer = await connect()
    writer.write(START + expects)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    answer = await answer_to(connect, b"POST / HTTP/1.0\r\n" + expects, b"x")
    assert answer.startswith(b"HTTP/1.1 200")
