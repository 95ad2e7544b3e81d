"""A server of `tests.unit.http.echoing`."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn

from frontend.http.connections import Connections
from frontend.http.guarded_protocol import GuardedHttpToolsProtocol
from frontend.http.listener import listen
from tests.unit.http.echoing import Connect, echo_length


@pytest.fixture
def handlers_ended() -> asyncio.Queue[str]:
    """Paths of handlers that were told of a disconnect."""
    return asyncio.Queue()


@pytest.fixture
def state() -> Connections:
    """What the connections of the server share."""
    return Connections()


@pytest.fixture
async def connect(handlers_ended, state) -> AsyncIterator[Connect]:
    config = uvicorn.Config(
        echo_length, ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = await asyncio.get_running_loop().create_server(
        lambda: GuardedHttpToolsProtocol(config, state, {"ended": handlers_ended}),
        sock=listen("127.0.0.1", 0),
    )
    writers: list[asyncio.StreamWriter] = []

    async def open_() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writers.append(writer)
        return reader, writer

    yield open_
    for writer in writers:
        writer.close()
    server.close()
    for connection in list(state.connections):
        connection.transport.abort()
    await asyncio.gather(*state.tasks)
    await asyncio.sleep(0)
