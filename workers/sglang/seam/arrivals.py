"""Messages of an engine are received without `zmq.asyncio`, which makes two futures and some sixty
calls of each.

Imports no SGLang.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

import zmq

from protocol.transport.sockets import Socket

_POLLIN: Final = int(zmq.POLLIN)


class Arrivals:
    """An Arrivals is a socket of SGLang's that one task reads.

    ZMQ's descriptor is edge-triggered: readiness is asked for after every edge and before every
    wait (http://api.zeromq.org/4-3:zmq-getsockopt, ZMQ_FD).

    Args:
        socket: the `zmq.asyncio` socket, which nobody has read yet.
        receive: takes the next message from a plain socket, with flags, or raises zmq.Again.
    """

    def __init__(self, socket: Any, receive: Callable[[Socket, int], Any]) -> None:
        # of the socket itself, which would close if nobody held it any more
        self._socket: Any = cast("Any", zmq.Socket).shadow(socket)
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._descriptor: Any = self._socket.getsockopt(zmq.FD)
        self._readable: asyncio.Future[None] | None = None
        self._at_once = False
        """Says that the last message was there when it was asked for."""
        self._loop.add_reader(self._descriptor, self._note_edge)

    async def next(self) -> Any:
        """Returns the next message; the loop's other work goes first between two that were
        there.
        """
        if self._at_once:
            await asyncio.sleep(0)
        self._at_once = bool(self._ready())
        while True:
            if not self._at_once:
                self._readable = self._loop.create_future()
                await self._readable
            try:
                return self._receive(self._socket, zmq.DONTWAIT)
            except zmq.Again:
                self._at_once = False

    def close(self) -> None:
        """Stops watching; the socket is its owner's."""
        self._loop.remove_reader(self._descriptor)

    def _note_edge(self) -> None:
        if self._ready() and self._readable is not None and not self._readable.done():
            self._readable.set_result(None)

    def _ready(self) -> int:
        return self._socket.getsockopt(zmq.EVENTS) & _POLLIN
