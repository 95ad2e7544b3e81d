"""A server of `tests.unit.http.echoing`."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from frontend.http.connections import Connections
from tests.unit.http.echoing import echo_length
from tests.unit.http.serving import Connect, serving


@pytest.fixture
def handlers_ended() -> asyncio.Queue[str]:
    """Paths of handlers that were told of a disconnect."""
    return asyncio.Queue()


@pytest.fixture
def released() -> asyncio.Event:
    """Lets /held answer."""
    return asyncio.Event()


@pytest.fixture
def state() -> Connections:
    """What the connections of the server share."""
    return Connections()


@pytest.fixture
async def connect(handlers_ended, released, state) -> AsyncIterator[Connect]:
    told = {"ended": handlers_ended, "released": released}
    async with serving(echo_length, state, told) as connect:
        yield connect
