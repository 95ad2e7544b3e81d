"""Forms and events in parts, through one exchange."""

import json

import pytest

from frontend.http.exchange import Exchange
from frontend.http.forms import FormPart
from frontend.http.stream_keep_alive import tick
from protocol.errors import (
    BodyTooLarge,
    ClientGone,
    InvalidRequest,
    MeshError,
    UnsupportedMediaType,
    WorkerLost,
)
from tests.unit.http.test_exchange import Server, read_and_answer

FORM = b'--b\r\ncontent-disposition: form-data; name="n"\r\n\r\n12\r\n--b--\r\n'
TYPE = "multipart/form-data; boundary=b"


async def form_of(exchange: Exchange) -> None:
    assert exchange.brings_form
    assert await exchange.read_form() == [FormPart("n", b"12")]
    await exchange.send_json(200, b"{}")


async def test_a_form_comes_in_pieces_and_gives_its_bytes_back() -> None:
    server = Server([FORM[:10], FORM[10:]], content_type=TYPE)
    assert await server.answer(form_of) is None
    assert server.all_given_back()


@pytest.mark.parametrize(
    ("headers", "body", "error", "says"),
    [
        ({"content_type": "multipart/form-data"}, FORM, InvalidRequest, "needs a boundary"),
        ({"content_type": TYPE}, FORM[:-8], InvalidRequest, "ends before"),
        ({"content_type": TYPE}, FORM + b" " * 100, BodyTooLarge, "larger than 100"),
        ({"content_type": TYPE, "content_length": "101"}, FORM, BodyTooLarge, "larger than 100"),
        (
            {"content_type": TYPE, "content_encoding": "gzip"},
            FORM,
            UnsupportedMediaType,
            "must not be compressed",
        ),
        ({"content_type": TYPE, "origin": "http://a.example"}, FORM, UnsupportedMediaType, "page"),
        (
            {"content_type": TYPE, "sec_fetch_site": "same-site", "authorization": "Basic eDp5"},
            FORM,
            UnsupportedMediaType,
            "page",
        ),
    ],
)
async def test_what_is_no_form_is_refused(
    headers: dict[str, str], body: bytes, error: type[MeshError], says: str
) -> None:
    server = Server([body], **headers)
    assert isinstance(await server.answer(form_of), error)
    assert says in json.loads(server.sent[-1]["body"])["error"]["message"]
    assert server.all_given_back()


async def test_a_page_that_its_browser_asked_about_may_send_a_form() -> None:
    headers = {"origin": "http://a.example", "authorization": "Bearer x"}
    assert await Server([FORM], content_type=TYPE, **headers).answer(form_of) is None


async def test_a_form_is_no_json() -> None:
    server = Server([FORM], content_type=TYPE)
    assert isinstance(await server.answer(read_and_answer), UnsupportedMediaType)
    assert server.starts == [415]


async def test_a_client_that_leaves_in_the_midst_of_a_form_is_gone() -> None:
    server = Server([FORM[:10], b""], content_type=TYPE)
    server._messages[1:] = [{"type": "http.disconnect"}]
    assert isinstance(await server.answer(form_of), ClientGone)


async def test_nothing_comes_between_the_parts_of_an_event() -> None:
    async def work(exchange: Exchange) -> None:
        exchange.streams = True
        await exchange.send_event_part(b"data: 1")
        for _ in range(5):
            tick(exchange)
        await exchange.send_events(b"2\n\n")
        for _ in range(2):
            tick(exchange)
        await exchange.end_events(b"data: 3\n\n")

    server = Server([b""])
    assert await server.answer(work) is None
    sent = b"".join(message["body"] for message in server.sent[1:])
    assert sent == b"data: 12\n\n: keep-alive\n\ndata: 3\n\n"
    assert server.starts == [200]


@pytest.mark.parametrize("whole", [False, True])
async def test_an_error_behind_half_an_event_is_told_by_the_end_of_the_connection(
    whole: bool,
) -> None:
    async def work(exchange: Exchange) -> None:
        await exchange.send_event_part(b"data: 1")
        if whole:
            await exchange.send_events(b"\n\n")
        raise WorkerLost("lost")

    server = Server([b""])
    assert isinstance(await server.answer(work), WorkerLost)
    assert server.sent[-1].get("more_body", False) is not whole
    assert (b"worker_lost" in server.sent[-1]["body"]) is whole
