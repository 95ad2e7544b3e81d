"""How evenly processes of one port share its clients, by way of sharing: our turns, one socket that
all accept from as they wake, and a socket each (SO_REUSEPORT).

Servers here only say which of them took a connection, so that nothing else is measured.
"""

import asyncio
import os
import socket
import statistics
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, cast

import uvloop

from frontend.processes.accepting import Accepting
from frontend.processes.standing import Standing

PROCESSES: Final = 2
WAYS: Final = ("turns", "one socket", "a socket each")
CONNECTIONS: Final = (2, 4, 16, 256)
TRIALS: Final = 25


class _Told(asyncio.Protocol):
    """Says which process took the connection."""

    def __init__(self, number: int, accepting: Accepting | None = None) -> None:
        self._number = number
        self._accepting = accepting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(bytes([self._number]))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own
        if self._accepting is not None:
            self._accepting.note_gone()


async def _serve(way: str, number: int, listener: int, standing: int) -> None:
    shared = socket.socket(fileno=listener)
    loop = asyncio.get_running_loop()
    if way == "turns":
        accepting = Accepting(shared, Standing(standing, PROCESSES), number, lambda: 1)
        accepting.begin(lambda: _Told(number, accepting))
    elif way == "one socket":
        await loop.create_server(partial(_Told, number), sock=shared)
    else:
        own = socket.create_server(shared.getsockname(), reuse_port=True, backlog=1024)
        shared.close()
        await loop.create_server(partial(_Told, number), sock=own)
    print("serving", flush=True)
    await asyncio.Event().wait()


async def _shares(address: tuple[str, int], connections: int, *, at_once: bool) -> float:
    """The part that the busiest process has of so many connections."""

    async def connect() -> tuple[int, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*address)
        return (await reader.readexactly(1))[0], writer

    if at_once:
        taken = await asyncio.gather(*(connect() for _ in range(connections)))
    else:
        taken = [await connect() for _ in range(connections)]
    busiest = max(Counter(number for number, _ in taken).values())
    for _, writer in taken:
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.01)  # the servers see their clients go
    return busiest / connections


async def _trials(address: tuple[str, int]) -> dict[str, dict[str, float]]:
    told: dict[str, dict[str, float]] = {}
    for connections in CONNECTIONS:
        for at_once in (False, True):
            shares = [await _shares(address, connections, at_once=at_once) for _ in range(TRIALS)]
            told[f"{connections} {'at once' if at_once else 'one by one'}"] = {
                "mean": round(statistics.mean(shares), 3),
                "worst": round(max(shares), 3),
            }
    return told


def shares() -> dict[str, Any]:
    """The busiest process's part of the connections, by way, number and manner of their coming."""
    told: dict[str, Any] = {}
    for way in WAYS:
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if way == "a socket each":  # this one only holds the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(("127.0.0.1", 0))
            if way != "a socket each":
                listener.listen(1024)
            standing = Standing.made(PROCESSES)
            stack.callback(os.close, standing)
            _start_servers(stack, way, listener, standing)
            told[way] = uvloop.run(_trials(listener.getsockname()))
    return told


def _start_servers(stack: ExitStack, way: str, listener: socket.socket, standing: int) -> None:
    descriptors = (listener.fileno(), standing)
    for number in range(PROCESSES):
        server = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, way, *map(str, (number, *descriptors))],
            pass_fds=descriptors,
            stdout=subprocess.PIPE,
        )
        stack.callback(server.wait)
        stack.callback(server.kill)
        assert server.stdout is not None
        stack.callback(server.stdout.close)
        server.stdout.readline()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], *map(int, sys.argv[2:])))
