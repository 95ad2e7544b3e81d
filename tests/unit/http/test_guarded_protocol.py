import asyncio

import pytest

from frontend.http import guarded_protocol, slow_reader
from tests.unit.http.echoing import CLOSE, FLOOD_BYTES, START, answer_to, error_of, rest_of


async def test_an_ordinary_request_passes(connect):
    answer = await answer_to(connect, START + CLOSE + b"content-length: 5\r\n\r\nhello")
    assert answer.endswith(b"\r\n\r\n5 3")


async def test_a_body_far_larger_than_the_header_bound_passes(connect):
    answer = await answer_to(
        connect, START + CLOSE + b"content-length: 3000000\r\n\r\n", *[b"x" * 100_000] * 30
    )
    assert answer.endswith(b"\r\n\r\n3000000 3")


async def test_requests_on_one_connection_are_each_allowed_their_headers(connect):
    reader, writer = await connect()
    for _ in range(5):
        writer.write(
            START
            + b"big: "
            + b"a" * 40_000
            + b"\r\ncontent-length: 100000\r\n\r\n"
            + b"x" * 100_000
        )
        assert (await reader.readuntil(b"100000 3")).startswith(b"HTTP/1.1 200")


async def test_headers_just_below_the_bound_pass_and_just_above_are_refused(connect):
    frame = START + CLOSE + b"big: \r\n\r\n"
    fits = b"a" * (guarded_protocol.HEADER_BYTES_MAX - len(frame))
    assert (await answer_to(connect, frame.replace(b"big: ", b"big: " + fits))).startswith(
        b"HTTP/1.1 200"
    )
    error = error_of(await answer_to(connect, frame.replace(b"big: ", b"big: a" + fits)), 431)
    assert error["code"] == "headers_too_large"


@pytest.mark.parametrize("piece_bytes", [1000, 65_536, 400_000])
async def test_one_giant_header_is_refused_however_it_arrives(connect, piece_bytes):
    answer = await answer_to(
        connect, START + b"big: ", *[b"a" * piece_bytes] * (400_000 // piece_bytes)
    )
    assert error_of(answer, 431)["code"] == "headers_too_large"


async def test_a_giant_request_line_is_refused(connect):
    error_of(await answer_to(connect, b"POST /" + b"a" * 300_000), 431)


async def test_too_many_small_headers_are_refused(connect):
    answer = await answer_to(connect, START + b"a: b\r\n" * guarded_protocol.HEADERS_MAX + b"\r\n")
    assert "256" in error_of(answer, 431)["message"]


async def test_blank_lines_before_a_request_are_counted_too(connect):
    error_of(await answer_to(connect, b"\r\n" * 100_000), 431)


async def test_broken_http_is_refused_as_openai_would(connect):
    assert (
        error_of(await answer_to(connect, b"\x16\x03\x01 not http\r\n\r\n"), 400)["code"]
        == "invalid_http_request"
    )


async def test_headers_that_do_not_end_time_out(connect, monkeypatch):
    monkeypatch.setattr(guarded_protocol, "HEADERS_WAIT_S_MAX", 0.05)
    assert error_of(await answer_to(connect, START), 408)["code"] == "headers_timeout"


async def test_the_second_request_of_a_connection_times_out_too(connect, monkeypatch):
    monkeypatch.setattr(guarded_protocol, "HEADERS_WAIT_S_MAX", 0.05)
    reader, writer = await connect()
    writer.write(START + b"content-length: 0\r\n\r\n")
    await reader.readuntil(b"0 2")
    writer.write(START)
    error_of(await reader.read(), 408)


async def test_a_connection_that_says_nothing_is_closed_silently(connect, monkeypatch):
    monkeypatch.setattr(guarded_protocol, "HEADERS_WAIT_S_MAX", 0.05)
    assert await answer_to(connect) == b""


async def test_a_slow_body_is_not_mistaken_for_slow_headers(connect, monkeypatch):
    monkeypatch.setattr(guarded_protocol, "HEADERS_WAIT_S_MAX", 0.02)
    reader, writer = await connect()
    writer.write(START + CLOSE + b"content-length: 4\r\n\r\n")
    for byte in (b"a", b"b", b"c", b"d"):
        await asyncio.sleep(0.02)
        writer.write(byte)
    assert (await reader.read()).endswith(b"4 3")


async def test_pipelined_requests_are_answered_in_order(connect):
    requests = [
        b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s" % (size, b"x" * size)
        for size in (3, 1, 2)
    ]
    reader, writer = await connect()
    writer.write(b"".join(requests))
    for size in (3, 1, 2):
        await reader.readuntil(b"\r\n\r\n%d 1" % size)


async def test_a_running_request_hears_that_its_client_has_gone_behind_a_pipelined_one(
    connect, handlers_ended
):
    reader, writer = await connect()
    writer.write(b"GET /wait HTTP/1.1\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"begun\r\n")
    writer.close()
    assert await asyncio.wait_for(handlers_ended.get(), 30) == "/wait"


async def test_and_behind_one_that_came_later(connect, handlers_ended):
    reader, writer = await connect()
    writer.write(b"GET /wait HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"begun\r\n")
    await asyncio.sleep(0.01)  # its handler waits for news of the client
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    writer.close()
    assert await asyncio.wait_for(handlers_ended.get(), 30) == "/wait"


async def test_a_client_that_takes_nothing_is_cut_off_and_one_that_takes_little_is_not(
    connect, state, monkeypatch
):
    monkeypatch.setattr(slow_reader, "SLOW_READER_S_MAX", 0.3)
    cut_off = asyncio.Event()
    state.on_slow_reader = cut_off.set
    (slow, slow_writer), (stalled, stalled_writer) = [await connect() for _ in range(2)]
    for writer in (slow_writer, stalled_writer):
        writer.write(b"GET /flood HTTP/1.1\r\nconnection: close\r\n\r\n")
    await slow.readuntil(b"\r\n\r\n")
    taken_bytes = 0
    while piece := await slow.read(30_000):
        taken_bytes += len(piece)
        await asyncio.sleep(0.02)
    assert taken_bytes == FLOOD_BYTES
    await asyncio.wait_for(cut_off.wait(), 30)
    assert len(await rest_of(stalled)) < FLOOD_BYTES


async def test_answers_of_a_closing_server_are_the_last_of_their_connections(connect, state):
    state.closing = True
    answer = await answer_to(connect, START + b"content-length: 0\r\n\r\n")
    assert b"connection: close" in answer


async def test_closing_when_idle_waits_for_what_runs_or_arrives(connect, state):
    (idle, _), (busy, busy_writer), (arriving, arriving_writer) = [
        await connect() for _ in range(3)
    ]
    busy_writer.write(START + b"content-length: 5\r\n\r\nhel")
    arriving_writer.write(START)
    while sum(bool(each._in_body or each._bare_bytes) for each in state.connections) < 2:
        await asyncio.sleep(0.001)
    state.closing = True
    for connection in list(state.connections):
        connection.close_when_idle()
    assert await idle.read() == b""
    busy_writer.write(b"lo")
    arriving_writer.write(b"content-length: 0\r\n\r\n")
    assert (await busy.read()).endswith(b"5 2")
    assert (await arriving.read()).endswith(b"0 2")
