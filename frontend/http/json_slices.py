"""Sends answers that are too large to be made in one turn of the loop, while they are made."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, cast

import msgspec

from frontend.http.exchange import Exchange

SLICE_BYTES: Final = 64 * 1024
"""Bounds what is made and sent in one turn, one to three milliseconds of log probabilities."""

_ROWS: Final = 16
"""Counts the rows that are made and encoded together."""

_encode = msgspec.json.Encoder().encode


class Rows:
    """Rows is a list of an answer whose members are made when they are sent.

    Args:
        make: makes them, anew each time.
    """

    def __init__(self, make: Callable[[], Iterable[Any]]) -> None:
        self.make = make


async def send_in_slices(exchange: Exchange, answer: Any) -> None:
    """Answers 200 with JSON that may have Rows in its objects and lists of objects; in one write if
    it is small.
    """
    made, sent = bytearray(), False
    for part in json_parts(answer):
        made += part
        if len(made) >= SLICE_BYTES:
            await exchange.send_slice(bytes(made))
            made.clear()
            sent = True
            await asyncio.sleep(0)
    if sent:
        await exchange.send_slice(bytes(made), more=False)
    else:
        await exchange.send_json(200, bytes(made))


def json_parts(value: Any) -> Iterator[bytes]:
    """Yields the value's JSON, in parts that make it when put together."""
    if isinstance(value, Rows):
        yield b"["
        rows, between = iter(value.make()), b""
        while some := list(islice(rows, _ROWS)):
            yield between + _encode(some)[1:-1]
            between = b","
        yield b"]"
    elif isinstance(value, dict) and value:
        before = b"{"
        for name, inner in cast("dict[str, Any]", value).items():
            yield before + _encode(name) + b":"
            yield from json_parts(inner)
            before = b","
        yield b"}"
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        before = b"["
        for inner in cast("list[Any]", value):
            yield before
            yield from json_parts(inner)
            before = b","
        yield b"]"
    else:
        yield _encode(value)
