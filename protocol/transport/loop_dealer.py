"""A DEALER that speaks on the event loop itself: it dials, and dials again."""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from protocol.limits import MESSAGE_BYTES_MAX
from protocol.process.start_error import StartError
from protocol.transport.connection import TICK_S, Connection
from protocol.transport.connection_owner import Peer
from protocol.transport.pump import OnFrames
from protocol.transport.sockets import (
    HANDSHAKE_S_MAX,
    IPC,
    RECONNECT_S,
    RECONNECT_S_MAX,
    path_of,
    require_key,
)

log = logging.getLogger(__name__)

Place = str | tuple[str, int]
"""Is a path or an abstract name, or a host and a port."""


def place_of(address: str) -> Place:
    """Returns where an address of this host is.

    Raises:
        StartError: it is malformed, or other hosts can reach it.
    """
    require_key(address, None)
    if address.startswith(IPC):
        return path_of(address)
    try:
        parts = urlsplit(address)
        host, port = parts.hostname if parts.scheme == "tcp" else None, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None:
        raise StartError(f"{address} is no address of a mesh: tcp://HOST:PORT or ipc://PATH")
    return host, port


class LoopDealer:
    """A LoopDealer is a Pump to the ROUTER at `place`, whichever way that one speaks.

    While there is no connection nothing can be sent; what was, and had not left when one broke, is
    lost.

    Args:
        on_writable: called when there is room again after a send found none.
    Attributes:
        serving: is done once, after `close`, what was sent has left.
    """

    def __init__(self, place: Place, take: OnFrames, on_writable: Callable[[], None]) -> None:
        self.take = take
        self._place = place
        self._on_writable = on_writable
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        """Is done once the connection has ended."""
        self._blocked = self._closing = False
        self._pause_s = RECONNECT_S
        self.serving = self._loop.create_task(self._stay_connected())
        self._ticking = self._loop.call_later(TICK_S, self._tick)

    def send(self, frames: Sequence[bytes]) -> bool:
        """Sends a message; returns False while there is no connection or no room."""
        if self._connection is not None and self._connection.send(frames):
            return True
        self._blocked = True
        return False

    def close(self) -> None:
        """Closes the connection once what was sent has left, or after the linger time."""
        self._closing = True
        self._ticking.cancel()
        if self._connection is not None and self._connection.is_made:
            self._connection.close()
        else:
            self.serving.cancel()

    def opened(self, connection: Peer) -> None:
        """Notes that messages can be sent, as Owner says."""
        self._pause_s = RECONNECT_S
        self.has_room(connection)

    def spoke(self, connection: Peer) -> None:
        """Does nothing: whom we dialled is no stranger."""

    def has_room(self, connection: Peer) -> None:  # noqa: ARG002 - there is one
        """Tells whoever found no room, as Owner says."""
        if self._blocked:
            self._blocked = False
            try:
                self._on_writable()
            except Exception:
                log.exception("defect while sending what waited for room")

    def lost(self, connection: Peer, failure: int | None) -> None:  # noqa: ARG002 - as above
        """Has it dialled again, as Owner says."""
        self._connection = None
        if not self._ended.done():
            self._ended.set_result(None)

    async def _stay_connected(self) -> None:
        while not self._closing:
            try:
                await self._connect()
                await self._ended
            except OSError:  # nobody is there: they may come later
                self._connection = None
            except Exception:
                log.exception("defect while dialling %s", self._place)
            if not self._closing:
                await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, RECONNECT_S_MAX)

    async def _connect(self) -> None:
        """Returns once there is a connection, which may have ended by then; raises OSError if there
        is none.
        """
        self._ended = self._loop.create_future()
        async with asyncio.timeout(HANDSHAKE_S_MAX):
            if isinstance(self._place, str):
                # connected here, since uvloop takes no abstract name
                await self._loop.create_unix_connection(self._made, sock=_connected(self._place))
            else:
                await self._loop.create_connection(self._made, *self._place)

    def _made(self) -> Connection:
        self._connection = Connection(
            self, socket_type=b"DEALER", peer_type=b"ROUTER", frame_bytes_max=MESSAGE_BYTES_MAX
        )
        return self._connection

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        if self._connection is not None:
            self._connection.tick()


def _connected(name: str) -> socket.socket:
    """Returns a socket that is connected to a file or abstract name, or raises OSError: nobody is
    there, or too many wait.
    """
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(0)
    try:
        connected.connect(name)
    except OSError:
        connected.close()
        raise
    return connected
