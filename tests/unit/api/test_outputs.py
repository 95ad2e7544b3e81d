"""What workers made, as answers have it: in base64, by links, in parts."""

import base64
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.api.outputs.base64_pieces import base64_of
from frontend.api.outputs.links import link_of
from frontend.api.outputs.ranges import range_of
from protocol.diffusion import Output
from protocol.errors import RangeNotSatisfiable
from tests.unit.http.test_exchange import Server

OUTPUT = Output("ab" * 24, "png", 10, 1, 1)


async def given_out(pieces: list[bytes], closed: list[bool]) -> AsyncGenerator[bytes]:
    try:
        for piece in pieces:
            yield piece
    finally:
        closed.append(True)


@given(pieces=st.lists(st.binary(max_size=7), max_size=8))
async def test_pieces_make_the_base64_of_all(pieces: list[bytes]) -> None:
    made = [piece async for piece in base64_of(given_out(pieces, []))]
    assert b"".join(made) == base64.b64encode(b"".join(pieces))
    assert all(made)


async def test_who_stops_early_closes_the_source() -> None:
    closed: list[bool] = []
    encoded = base64_of(given_out([b"123456"] * 3, closed))
    await anext(encoded)
    await encoded.aclose()
    assert closed == [True]


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        (b"bytes=0-", (0, 100)),
        (b"bytes=0-0", (0, 1)),
        (b"bytes=10-19", (10, 20)),
        (b"bytes=90-1000", (90, 100)),
        (b"bytes=-10", (90, 100)),
        (b"bytes=-1000", (0, 100)),
        (b"bytes=0-9,20-29", None),
        (b"bytes=-", None),
        (b"bytes=9-3", None),
        (b"items=0-9", None),
        (b"bytes=" + b"9" * 5_000 + b"-", None),
        (b"bytes=a-b", None),
    ],
)
def test_parts(header: bytes | None, part: tuple[int, int] | None) -> None:
    assert range_of(header, 100) == part


@pytest.mark.parametrize("header", [b"bytes=100-", b"bytes=100-200", b"bytes=-0"])
def test_parts_that_are_not_there(header: bytes) -> None:
    with pytest.raises(RangeNotSatisfiable) as raised:
        range_of(header, 100)
    assert raised.value.size_bytes == 100


@pytest.mark.parametrize(
    ("headers", "link"),
    [
        ({"host": "draws.example"}, "http://draws.example"),
        ({"host": "127.0.0.1:8000"}, "http://127.0.0.1:8000"),
        ({"host": "[::1]:8000"}, "http://[::1]:8000"),
        ({"host": "a.example", "x_forwarded_proto": "https"}, "https://a.example"),
        ({"host": "a.example", "x_forwarded_proto": "javascript"}, "http://a.example"),
        ({"host": "a.example/evil?"}, ""),
        ({"host": 'a"b'}, ""),
        ({}, ""),
    ],
)
def test_links_lead_to_the_frontend_as_its_client_names_it(
    headers: dict[str, str], link: str
) -> None:
    exchange = Server([b""], **headers).exchange
    exchange.scope["scheme"] = "http"
    assert link_of(exchange, OUTPUT) == f"{link}/v1/media/{OUTPUT.output_id}"


def test_a_worker_may_know_better() -> None:
    output = Output("ab" * 24, "png", 10, 1, 1, url="https://store.example/a.png")
    assert link_of(Server([b""], host="a.example").exchange, output) == output.url
