"""Events are written past uvicorn's `send` only where that would have written them at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from frontend.http.asgi import Receive, Scope, Send
from frontend.http.connections import Connections
from frontend.http.direct_writes import DIRECT_WRITES, DirectWrites
from frontend.http.ignored import Ignored
from frontend.http.sending import Sending
from frontend.http.stream_keep_alive import KEEP_ALIVE
from tests.unit.http.serving import serving

Work = Callable[[Sending], Awaitable[None]]
Ask = Callable[[Work, bytes], Awaitable[asyncio.StreamReader]]

POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Sends a request that is answered by `work`."""
    works: list[Work] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        sending = Sending(send, Ignored("refuse"), scope.pop(DIRECT_WRITES, None))
        await works.pop(0)(sending)

    async with serving(app, Connections(), {}) as connect:

        async def asked(work: Work, request: bytes) -> asyncio.StreamReader:
            works.append(work)
            reader, writer = await connect()
            writer.write(request)
            return reader

        yield asked


def body_of(answer: bytes) -> bytes:
    """The body of an answer that came in chunks, which are held to their lengths."""
    rest, body = answer.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        piece, rest = rest[: int(size, 16)], rest[int(size, 16) :]
        assert rest.startswith(b"\r\n")
        body, rest = body + piece, rest[2:]
        if not piece:
            break
    return body


async def test_what_is_written_at_once_is_the_same_as_what_is_sent(ask: Ask) -> None:
    answers: list[bytes] = []
    for at_once in (False, True):

        async def work(sending: Sending, at_once: bool = at_once) -> None:
            assert sending.at_once() is None, "nothing has begun"
            await sending.send_events(b"data: 1\n\n")
            for number in range(20):
                event = b"data: %d\n\n" % number * (number + 1)
                if at_once:
                    write_of = sending.at_once()
                    assert write_of is not None
                    write_of(event)()
                else:
                    await sending.send_events(event)
            await sending.end_events(b"data: [DONE]\n\n")
            assert sending.at_once() is None, "all has been sent"

        reader = await ask(work, POST)
        answers.append((await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")[2])
    assert answers[0] == answers[1]
    assert body_of(b"\r\n\r\n" + answers[0]).endswith(b"data: [DONE]\n\n")


async def test_a_client_that_does_not_read_is_waited_for(ask: Ask) -> None:
    refused_after: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    event = b"data: " + b"x" * 10_000 + b"\n\n"

    async def work(sending: Sending) -> None:
        await sending.send_events(event)
        sent = 1
        while (write_of := sending.at_once()) is not None:
            write_of(event)()
            sent += 1
            await asyncio.sleep(0)
        refused_after.set_result(sent)
        await sending.send_events(event)  # which waits
        assert sending.at_once() is not None
        await sending.end_events(b"")

    reader = await ask(work, POST)
    sent = await asyncio.wait_for(refused_after, 30)
    answer = await asyncio.wait_for(reader.read(), 30)
    assert body_of(answer) == event * (sent + 1)


async def test_comments_come_between_events_only(ask: Ask) -> None:
    async def work(sending: Sending) -> None:
        await sending.send_events(b"data: 1\n\n")
        await sending.send_event_part(b"data: begun")
        assert sending.at_once() is None, "an event is not whole"
        await sending.send_events(b" and ended\n\n")
        sending.silent_ticks = 1
        write_of = sending.at_once()
        assert write_of is not None
        write_of(KEEP_ALIVE)()
        assert sending.silent_ticks == 0
        await sending.end_events(b"")

    reader = await ask(work, POST)
    answer = await asyncio.wait_for(reader.read(), 5)
    assert body_of(answer) == b"data: 1\n\ndata: begun and ended\n\n" + KEEP_ALIVE


@pytest.mark.parametrize("request_line", [b"POST / HTTP/1.0", b"GET / HTTP/1.1"])
async def test_what_has_no_chunks_is_never_written_at_once(ask: Ask, request_line: bytes) -> None:
    seen: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def work(sending: Sending) -> None:
        await sending.send_events(b"data: 1\n\n")
        seen.set_result(sending.at_once() is not None)
        await sending.end_events(b"data: 2\n\n")

    reader = await ask(work, POST.replace(b"POST / HTTP/1.1", request_line))
    answer = await asyncio.wait_for(reader.read(), 5)
    assert not await seen
    assert b"data: 1\n\n" in answer
    assert b"data: 2\n\n" in answer


async def test_after_the_client_has_left_nothing_is_written(ask: Ask) -> None:
    left: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def work(sending: Sending) -> None:
        await sending.send_events(b"data: 1\n\n")
        direct: DirectWrites | None = sending.direct
        assert direct is not None
        while direct.ready():
            await asyncio.sleep(0.001)
        left.set_result(sending.at_once() is not None)

    reader = await ask(work, POST)
    await reader.readuntil(b"data: 1\n\n")
    transport = reader._transport  # type: ignore[attr-defined]
    transport.abort()
    assert await asyncio.wait_for(left, 5) is False
