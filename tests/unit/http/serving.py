"""A server of the guarded protocol on a free port, without the rest of a frontend."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from frontend.http.connections import Connections
from frontend.http.guarded_protocol import GuardedHttpToolsProtocol
from frontend.http.listener import listen

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@asynccontextmanager
async def serving(
    app: Any, connections: Connections, state: dict[str, Any]
) -> AsyncIterator[Connect]:
    """Yields what opens a connection to a server of `app`; at the end all of them are closed, and
    its handlers awaited.

    Args:
        state: the scope's, for each request.
    """
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, access_log=False)
    server = await asyncio.get_running_loop().create_server(
        lambda: GuardedHttpToolsProtocol(config, connections, state), sock=listen("127.0.0.1", 0)
    )
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writers.append(writer)
        return reader, writer

    yield connect
    for writer in writers:
        writer.close()
    server.close()
    for connection in list(connections.connections):
        connection.transport.abort()
    await asyncio.gather(*connections.tasks)
    await asyncio.sleep(0)
