"""What is wrong with a request hurts none that came whole before it on its connection."""

import pytest

from frontend.http import guarded_protocol
from frontend.http.last_word import LINGER_BYTES_MAX, LastWord
from tests.unit.http.echoing import START, answer_to, error_of, rest_of

HELD = b"GET /held HTTP/1.1\r\n\r\n"
BEGUN = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n"
ANSWER = BEGUN + b"0\r\n\r\n"
WRONG = {
    "a head": (400, b"no http\r\n\r\n"),
    "a body": (400, START + b"transfer-encoding: chunked\r\n\r\nno chunk\r\n"),
    "a giant head": (431, b"GET / HTTP/1.1\r\nbig: " + b"a" * 300_000),
}


@pytest.mark.parametrize("whole", [1, 3])
@pytest.mark.parametrize(("status", "wrong"), WRONG.values(), ids=WRONG)
async def test_whole_requests_are_answered_and_then_the_wrong_one(
    connect, released, whole, status, wrong
):
    reader, writer = await connect()
    writer.write(HELD * whole + wrong)
    await writer.drain()
    released.set()
    said = await rest_of(reader)
    assert said.startswith(ANSWER * whole)
    error_of(said.removeprefix(ANSWER * whole), status)


async def test_a_head_that_does_not_end_is_told_so_behind_the_answer_before(
    connect, released, monkeypatch
):
    class Refusal(LastWord):
        def __init__(self, *said):
            super().__init__(*said)
            released.set()

    monkeypatch.setattr(guarded_protocol, "HEADERS_WAIT_S_MAX", 0.05)
    monkeypatch.setattr(guarded_protocol, "LastWord", Refusal)
    reader, writer = await connect()
    writer.write(HELD)
    assert await reader.readuntil(b"begun\r\n") == BEGUN
    writer.write(START)
    said = await rest_of(reader)
    error_of(said.removeprefix(ANSWER.removeprefix(BEGUN)), 408)


async def test_more_pipelined_requests_than_the_bound_are_refused_behind_those_within(
    connect, released
):
    released.set()
    within = guarded_protocol.PIPELINED_REQUESTS_MAX + 1
    said = await answer_to(connect, HELD * (within + 5))
    assert said.startswith(ANSWER * within)
    error = error_of(said.removeprefix(ANSWER * within), 400)
    assert error["code"] == "too_many_pipelined_requests"


async def test_what_a_client_goes_on_to_say_behind_it_is_bounded(connect, handlers_ended):
    reader, writer = await connect()
    writer.write(b"GET /wait HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"begun\r\n")
    writer.write(b"no http\r\n\r\n" + b"x" * (LINGER_BYTES_MAX + 100_000))
    assert await rest_of(reader) == b""
    assert await handlers_ended.get() == "/wait"
