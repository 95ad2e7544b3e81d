"""One answer on a connection that is a list of what was written."""

import asyncio
import json
from typing import Any

import pytest

from frontend.http.cycle import Cycle
from frontend.http.leaving import LEAVING, Leaving


class Transport:
    """Remembers each write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class Flow:
    """A client with room for everything."""

    read_paused = write_paused = False


def cycle_on(transport: Transport, method: str = "POST", *, keep_alive: bool = True) -> Any:
    flow: Any = Flow()
    written: Any = transport
    return Cycle(
        {"method": method, "path": "/v1", LEAVING: Leaving()},
        written,
        flow,
        default_headers=[(b"date", b"today")],
        expects_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )


async def answer(cycle: Any, *bodies: bytes, **headers: str) -> None:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await cycle.send({"type": "http.response.start", "status": 200, "headers": named})
    for number, body in enumerate(bodies, start=1):
        more = number < len(bodies)
        await cycle.send({"type": "http.response.body", "body": body, "more_body": more})


async def test_head_and_body_leave_in_one_write() -> None:
    transport = Transport()
    cycle = cycle_on(transport)
    await answer(cycle, b"{}", content_length="2")
    assert transport.writes == [b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\n\r\n{}"]
    assert cycle.response_complete
    assert not transport.closed


async def test_what_is_long_is_not_copied_to_be_behind_its_head() -> None:
    transport = Transport()
    await answer(cycle_on(transport), bytes(100_000), content_length="100000")
    assert [len(each) for each in transport.writes[1:]] == [100_000]


async def test_a_body_of_unknown_length_is_cut_into_chunks() -> None:
    transport = Transport()
    await answer(cycle_on(transport), b"one", b"", b"three", b"")
    head, *rest = b"".join(transport.writes).split(b"\r\n\r\n", 1)
    assert head.endswith(b"transfer-encoding: chunked")
    assert rest == [b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"]


async def test_the_answer_to_head_has_no_body() -> None:
    transport = Transport()
    cycle = cycle_on(transport, "HEAD")
    await answer(cycle, b"", content_length="7")
    assert b"".join(transport.writes).endswith(b"content-length: 7\r\n\r\n")
    assert cycle.response_complete


@pytest.mark.parametrize("said", [{}, {"connection": "close"}])
async def test_the_last_answer_of_a_connection_says_so_once(said: dict[str, str]) -> None:
    transport = Transport()
    await answer(cycle_on(transport, keep_alive=bool(said)), b"", content_length="0", **said)
    assert transport.writes[0].count(b"connection: close") == 1
    assert transport.closed


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "a\nb", "a\rb", "a\x00b", "a\x7fb"])
async def test_a_header_is_one_line(value: str) -> None:
    transport = Transport()
    with pytest.raises(RuntimeError):
        await answer(cycle_on(transport), b"", x_name=value)
    assert not transport.writes


@pytest.mark.parametrize("bodies", [(b"123",), (b"1",), (b"1", b"23")])
async def test_a_body_is_as_long_as_was_said(bodies: tuple[bytes, ...]) -> None:
    with pytest.raises(RuntimeError):
        await answer(cycle_on(Transport()), *bodies, content_length="2")


async def test_an_answer_is_begun_and_ended_once() -> None:
    cycle = cycle_on(Transport())
    with pytest.raises(RuntimeError):
        await cycle.send({"type": "http.response.body", "body": b""})
    await answer(cycle, b"")
    for kind in ("http.response.start", "http.response.body"):
        with pytest.raises(RuntimeError):
            await cycle.send({"type": kind, "status": 200, "body": b""})


async def test_a_defect_before_the_answer_is_told_as_openai_does() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("nobody's business")

    transport = Transport()
    await cycle_on(transport).run(fails)
    head, body = b"".join(transport.writes).split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 500 ")
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert b"business" not in body
    assert transport.closed


async def test_an_answer_that_breaks_off_ends_the_connection() -> None:
    async def breaks_off(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    transport = Transport()
    await cycle_on(transport).run(breaks_off)
    assert b"".join(transport.writes).endswith(b"half\r\n")
    assert transport.closed


async def test_pieces_of_a_body_that_came_before_are_received_as_one() -> None:
    cycle = cycle_on(Transport())
    for piece in (b"a", b"b", b"c"):
        cycle.add(piece)
    message = await cycle.receive()
    assert (message["body"], message["more_body"]) == (b"abc", True)
    receiving = asyncio.create_task(cycle.receive())
    await asyncio.sleep(0)
    assert not receiving.done()
    cycle.end_body()
    message = await receiving
    assert (message["body"], message["more_body"]) == (b"", False)


async def test_who_waits_for_more_hears_that_the_client_has_gone() -> None:
    cycle = cycle_on(Transport())
    receiving = asyncio.create_task(cycle.receive())
    await asyncio.sleep(0)
    cycle.note_client_gone()
    assert await receiving == {"type": "http.disconnect"}
