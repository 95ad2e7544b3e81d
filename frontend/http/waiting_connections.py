"""Connections that wait in the kernel are taken many at a time, whichever loop serves."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from socket import socket
from typing import Final

TAKEN_AT_ONCE_MAX: Final = 128
"""Connections of one listener that one turn of the loop takes: some ten milliseconds of it."""


class WaitingConnections:
    """WaitingConnections takes what waits behind a connection that the loop has taken.

    libuv, and so uvloop, takes one connection a turn. Where many connections have much to do, of
    each of which a turn does a part, turns are long, and a new client waits for as many of them as
    there are others before it: 26 s behind 200 connections of 60 pipelined chats, of which those
    whose connections stood were served in 0.04 s. asyncio's own loop takes all that wait.

    Args:
        listeners: sockets that the loop listens on.
        make_protocol: makes what serves a connection.
    """

    def __init__(
        self, listeners: Sequence[socket], make_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self._listeners = listeners
        self._make_protocol = make_protocol
        self._joining: set[asyncio.Task[None]] = set()
        """Taken, but not yet with their protocols; at most TAKEN_AT_ONCE_MAX a listener."""
        for listener in listeners:
            listener.settimeout(0)

    def take(self) -> None:
        """Takes what waits; to be called when a connection begins.

        Those that are taken here begin while others of their batch are joining, and so take none.
        """
        if self._joining:
            return
        for listener in self._listeners:
            # None waits, or there is no room for another: then the loop's own try is dealt with.
            with suppress(OSError):
                for _ in range(TAKEN_AT_ONCE_MAX):
                    self._join(listener.accept()[0])

    def _join(self, connection: socket) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    async def _serve(self, connection: socket) -> None:
        try:
            connection.settimeout(0)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol, connection
            )
        except OSError:  # it is gone again
            connection.close()
