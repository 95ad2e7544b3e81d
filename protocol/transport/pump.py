"""Carries messages between a ZMQ socket and the event loop.

`SocketPump` watches the socket's descriptor itself instead of going through `zmq.asyncio`, which
makes one future and one task switch of every message. ZMQ's descriptor is edge-triggered: readiness
must be asked for (`EVENTS`) after every edge and after every send, or a message waits for the next
edge (http://api.zeromq.org/4-3:zmq-getsockopt, ZMQ_FD).
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Protocol, cast

import zmq

from protocol.limits import MESSAGES_PER_TURN_MAX
from protocol.transport.sockets import Socket

TURN_S_MAX = 0.005
"""Bounds a pump's turn, after which the loop's other work goes first: large messages take
milliseconds each.
"""

log = logging.getLogger(__name__)

# As plain ints: with pyzmq's enums every & would make an enum member.
_POLLIN, _POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)


class Pump(Protocol):
    """A Pump is a socket of the mesh to whoever uses it; the simulation puts another transport
    behind it.
    """

    def send(self, frames: Sequence[bytes]) -> bool:
        """Hands over a message, with the peer's identity in front where the socket is a ROUTER;
        returns False when it cannot be sent.
        """
        ...

    def close(self) -> None:
        """Sends what was handed over and closes."""


OnFrames = Callable[[list[bytes]], None]

OpenDealer = Callable[[OnFrames, Callable[[], None]], Pump]
"""Connects a DEALER, given what takes messages and what is called when there is room again."""

OpenRouter = Callable[[OnFrames, Callable[[bytes], None]], Pump]
"""Binds a ROUTER, given what takes messages and what is told of an identity that was sent to and
has no connection any more.
"""


class SocketPump:
    """A SocketPump calls `on_message(frames)` on the loop for every message of `socket`, and sends
    without ever blocking.

    Args:
        on_writable: called when there is room again after a send found none.
        on_gone: of a ROUTER, called in a later turn with the identity that a message could not be
        sent to.
        receive: takes the next message in place of the socket's own method
        (protocol.transport.door).
        copies: messages are handed over by copying them, which costs less for most. Otherwise what
        is large is read where it lies until it has left.
    """

    def __init__(
        self,
        socket: Socket,
        on_message: OnFrames,
        on_writable: Callable[[], None] | None = None,
        on_gone: Callable[[bytes], None] | None = None,
        receive: Callable[[int], list[bytes]] | None = None,
        *,
        copies: bool = True,
    ) -> None:
        self._socket = socket
        self._copies = copies
        self._receive = receive or socket.recv_multipart
        self._on_message = on_message
        self._on_writable = on_writable
        self._on_gone = on_gone
        self._blocked = False
        self._again: asyncio.Handle | None = None
        self._loop = asyncio.get_running_loop()
        self._descriptor: Any = socket.getsockopt(zmq.FD)
        self._loop.add_reader(self._descriptor, self._turn)
        self._turn_soon()

    def send(self, frames: Sequence[bytes]) -> bool:
        """Hands a message to ZMQ.

        Returns:
            False when the peer's queue is full or the peer is gone.
        """
        try:
            self._socket.send_multipart(frames, zmq.DONTWAIT, copy=self._copies)
            sent = True
        except zmq.Again:
            self._blocked = True
            sent = False
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.ENOTSOCK):
                raise
            sent = False
            if self._on_gone is not None and error.errno == zmq.EHOSTUNREACH:
                self._loop.call_soon(self._on_gone, frames[0])
        # Even a send that failed may have taken the edge that announced messages to read.
        if self._again is None and not self._socket.closed and self._ready() & _POLLIN:
            self._turn_soon()
        return sent

    def close(self) -> None:
        """Stops watching and closes the socket; what was sent leaves within the linger time."""
        self._loop.remove_reader(self._descriptor)
        if self._again is not None:
            self._again.cancel()
        self._socket.close()

    def _turn_soon(self) -> None:
        if self._again is None:
            self._again = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._take_messages():
            self._turn_soon()
        if self._socket.closed:
            return
        if self._blocked and self._ready() & _POLLOUT:
            self._blocked = False
            try:
                if self._on_writable is not None:
                    self._on_writable()
            except Exception:
                log.exception("defect while sending what waited for room")  # as above
        # Asking for POLLOUT, and sending, may have taken the edge of a message that came meanwhile.
        if not self._socket.closed and self._ready() & _POLLIN:
            self._turn_soon()

    def _take_messages(self) -> bool:
        """Hands on what arrived; returns whether there may be more that has to wait for its
        turn.
        """
        until_s = monotonic() + TURN_S_MAX
        for _ in range(MESSAGES_PER_TURN_MAX):
            try:
                frames = self._receive(zmq.DONTWAIT)
            except zmq.Again:
                return False
            try:
                self._on_message(frames)
            except Exception:
                # the messages behind it must still be read
                log.exception("defect while handling a message")
            if self._socket.closed:
                return False
            if monotonic() > until_s:
                return True
        return True

    def _ready(self) -> int:
        return int(cast("int", self._socket.getsockopt(zmq.EVENTS)))
