"""Whoever connects is served in turn, however many came before and however much they want."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import pytest
import uvicorn
import uvloop

from frontend.drain import Drain
from frontend.http.connections import Connections
from frontend.http.guarded_protocol import GuardedHttpToolsProtocol
from frontend.http.listener import listen
from frontend.http.server import Server
from frontend.http.waiting_connections import TAKEN_AT_ONCE_MAX, WaitingConnections

FLOOD_CONNECTIONS, PIPELINED = 100, 20


class Served:
    """An application that notes what is asked of it, in order, and when all has been."""

    def __init__(self, requests: int) -> None:
        self.paths: list[str] = []
        self.all = asyncio.Event()
        self._requests = requests

    async def __call__(
        self, scope: Any, receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        del receive
        self.paths.append(scope["path"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        if len(self.paths) == self._requests:
            self.all.set()


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


async def in_order_of_service(listener: socket.socket, requests: int) -> list[str]:
    """Serve what waits behind the listener; the paths as they were asked for."""
    served = Served(requests)
    drain: Drain[Any] = Drain(grace_s=0, finish_s_max=0)
    config = uvicorn.Config(
        served,
        http=GuardedHttpToolsProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    serving = asyncio.create_task(Server(config, drain, Connections()).serve([listener]))
    await served.all.wait()
    for _ in range(3):
        drain.on_signal(asyncio.get_running_loop().time())
    await serving
    return served.paths


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_new_connection_is_served_before_the_last_of_a_flood(run: Callable[..., Any]) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(listen("127.0.0.1", 0))

        def connect(sends: bytes) -> None:
            client = socket.create_connection(listener.getsockname())
            stack.enter_context(client).sendall(sends)

        for number in range(FLOOD_CONNECTIONS):
            connect(b"".join(request(f"/{number}/{at}") for at in range(PIPELINED)))
        connect(request("/new"))
        paths = run(in_order_of_service(listener, FLOOD_CONNECTIONS * PIPELINED + 1))
    before = paths[: paths.index("/new")]
    assert [path for path in before if path.endswith(f"/{PIPELINED - 1}")] == []


async def test_no_more_are_taken_at_once_than_a_turn_has_time_for() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(listen("127.0.0.1", 0))
        for _ in range(TAKEN_AT_ONCE_MAX + 2):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        begun: list[asyncio.BaseTransport] = []
        all_begun = asyncio.Event()

        class Begins(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                begun.append(transport)
                waiting.take()  # as every connection does; none are taken while others join
                if len(begun) >= TAKEN_AT_ONCE_MAX:
                    all_begun.set()

        waiting = WaitingConnections([listener], Begins)
        waiting.take()
        await all_begun.wait()
        assert len(begun) == TAKEN_AT_ONCE_MAX
        for _ in range(2):
            stack.enter_context(listener.accept()[0])
        with pytest.raises(BlockingIOError):
            listener.accept()
        for transport in begun:
            transport.close()


async def test_a_closed_listener_has_none() -> None:
    listener = listen("127.0.0.1", 0)
    waiting = WaitingConnections([listener], asyncio.Protocol)
    listener.close()
    waiting.take()
