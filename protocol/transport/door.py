"""Watches who has come to a bound socket and said nothing yet, so that they are few, and not for
long.

ZMQ takes every connection, and keeps one that never proves the key until its handshake's time is
over. Each takes a descriptor, which HTTP needs too, and may send a frame (limits.FRAME_BYTES_MAX)
before it is known. Who has sent a message has proven the key and is no newcomer.
"""

import asyncio
import logging
import os
import resource
import socket as sockets
import struct
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import zmq

from protocol.process.log_floods import Complaint
from protocol.transport.pump import SocketPump
from protocol.transport.sockets import Socket

NEWCOMERS_MAX: Final = 1_024
"""Bounds the connections that have said nothing yet: a fleet whose frontend was restarted comes
back within a quarter of a second; with a frame of 64 KiB each they hold 64 MiB at most.
"""

_SHARE_OF_DESCRIPTORS: Final = 8
"""Bounds newcomers to this part of the process's descriptors, if that is fewer."""

SILENT_S_MAX: Final = 10.0
"""Bounds how long a newcomer may say nothing: a worker speaks four times a second, and once a
second while it loads.
"""

COMPLAINTS_S: Final = 30.0

_COMINGS: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
_FAILURES: Final = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH

log = logging.getLogger(__name__)


def newcomers_allowed(newcomers_max: int) -> int:
    """Returns how many newcomers there may be, of so many at most, in this process."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        newcomers_max
        if descriptors < 0
        else min(newcomers_max, descriptors // _SHARE_OF_DESCRIPTORS)
    )


class Door:
    """A Door closes connections of `socket`, a bound ROUTER: the first to come of too many
    newcomers, and who is one for too long.

    Of a socket with a path in place of a port nothing is closed: only this user reaches it.

    Give `receive` to the SocketPump, and close both.

    Args:
        on_failure: is told ZMQ's number of why somebody could not prove the key.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        socket: Socket,
        *,
        on_failure: Callable[[int], None] | None = None,
        newcomers_max: int = NEWCOMERS_MAX,
        silent_s_max: float = SILENT_S_MAX,
    ) -> None:
        self._newcomers_max = newcomers_allowed(newcomers_max)
        self._silent_s_max = silent_s_max
        self._socket = socket
        endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        self._port = urlsplit(endpoint.rstrip(b"\0").decode()).port
        self._newcomers: dict[int, float] = {}
        """Maps a descriptor to when its newcomer came, in the order in which they came."""
        self._loop = asyncio.get_running_loop()
        self._tick: asyncio.TimerHandle | None = None
        self._complaint = Complaint(self._loop.time, COMPLAINTS_S)
        self._on_failure = on_failure
        address = f"inproc://door-{id(self)}"
        socket.monitor(address, _FAILURES if self._port is None else _FAILURES | _COMINGS)
        events = context.socket(zmq.PAIR)
        # or ZMQ's thread waits for us; what waits here is bounded by what it can accept meanwhile
        events.setsockopt(zmq.RCVHWM, 0)
        events.connect(address)
        self._events = SocketPump(events, self._on_event)

    def receive(self, flags: int) -> list[bytes]:
        """Returns the next message of the socket, as `recv_multipart` does; its sender is no
        newcomer any more.

        A first message may overtake the news of its sender's coming; the next beat is a quarter of
        a second behind it.
        """
        if not self._newcomers:
            return self._socket.recv_multipart(flags)
        frames = self._socket.recv_multipart(flags, copy=False)
        self._newcomers.pop(int(frames[-1].get(zmq.SRCFD)), None)
        return [frame.bytes for frame in frames]

    def close(self) -> None:
        """Ends the watch; to be called before the socket is closed."""
        if self._tick is not None:
            self._tick.cancel()
        self._socket.disable_monitor()
        self._events.close()

    def _on_event(self, frames: list[bytes]) -> None:
        event, descriptor = struct.unpack("=Hi", frames[0])
        if event & _FAILURES:
            if self._on_failure is not None:
                self._on_failure(descriptor)  # in its place stands the reason
            return
        self._newcomers.pop(descriptor, None)
        if event == zmq.EVENT_ACCEPTED:
            self._newcomers[descriptor] = self._loop.time()
            if len(self._newcomers) > self._newcomers_max:
                self._shut(next(iter(self._newcomers)))
            if self._tick is None:
                self._tick = self._loop.call_later(self._silent_s_max, self._shut_silent)

    def _shut_silent(self) -> None:
        self._tick = None
        long_ago = self._loop.time() - self._silent_s_max
        for descriptor in [
            descriptor for descriptor, came_at in self._newcomers.items() if came_at <= long_ago
        ]:
            self._shut(descriptor)
        if self._newcomers:
            oldest = next(iter(self._newcomers.values()))
            self._tick = self._loop.call_at(oldest + self._silent_s_max, self._shut_silent)

    def _shut(self, descriptor: int) -> None:
        """Ends a connection.

        ZMQ finds it ended and closes it; it may have done so already, hence the look at whose it
        is.
        """
        self._newcomers.pop(descriptor, None)
        try:
            with sockets.socket(fileno=os.dup(descriptor)) as connection:
                if connection.getsockname()[1:2] == (self._port,):
                    connection.shutdown(sockets.SHUT_RDWR)
        except OSError:
            return
        if self._complaint.due():
            log.warning(
                "connections to the mesh at port %d that say nothing are closed", self._port
            )
