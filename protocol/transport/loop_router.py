"""A ROUTER that speaks on the event loop itself, and closes connections of strangers: the first to
come of too many who have said nothing yet, and who is one for too long.
"""

import asyncio
import itertools
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeGuard

from protocol.limits import FRAME_BYTES_MAX
from protocol.process.log_floods import Complaint
from protocol.transport.connection import TICK_S, Connection
from protocol.transport.connection_owner import Peer
from protocol.transport.door import COMPLAINTS_S, NEWCOMERS_MAX, SILENT_S_MAX, newcomers_allowed
from protocol.transport.loop_dealer import Place, place_of
from protocol.transport.pump import OnFrames
from protocol.transport.sockets import LINGER_S_MAX, require_unused, with_port

log = logging.getLogger(__name__)

_IDENTITY_BYTES: Final = 9
"""Is a zero, as ZeroMQ's own identities begin, and a number of which there is always a next one."""


class LoopRouter:
    """A LoopRouter is a Pump of whoever connects to an address, once `open` was called.

    Each connection has an identity that no other one ever has.

    Args:
        on_failure: is told ZMQ's number of why somebody did not become a peer.
        newcomers_max, silent_s_max: of who has said nothing yet, where there is a port or an
        abstract name: a file is reached by this user alone.
    Attributes:
        address: the one it listens at, whose port is the kernel's choice where 0 was asked for.
    Raises:
        StartError: the address is malformed, or other hosts can reach it.
        OSError: it is taken.
    """

    def __init__(
        self,
        address: str,
        *,
        on_failure: Callable[[int], None] | None = None,
        newcomers_max: int = NEWCOMERS_MAX,
        silent_s_max: float = SILENT_S_MAX,
    ) -> None:
        self._place = place_of(address)
        self._listener = _listening(self._place)
        self.address = address
        if not isinstance(self._place, str):
            self.address = with_port(address, self._listener.getsockname()[1])
        self._on_failure = on_failure
        self._newcomers_max = newcomers_allowed(newcomers_max)
        self._silent_s_max = silent_s_max
        self._loop = asyncio.get_running_loop()
        self._complaint = Complaint(self._loop.time, COMPLAINTS_S)
        self._peers: dict[bytes, Connection] = {}
        self._newcomers: dict[bytes, float] = {}
        """Maps those who have said nothing yet to when they came, in the order in which they
        came; empty where there is a file.
        """
        self._numbers = itertools.count(1)
        self._accepting: asyncio.Task[asyncio.Server] | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._closing = False
        self._deserted = asyncio.Event()

    def open(self, take: OnFrames, on_gone: Callable[[bytes], None]) -> "LoopRouter":
        """Lets connections in, and returns itself; to be called once.

        Args:
            on_gone: told, in a later turn, of an identity whose connection has ended, or that was
            sent to and has none.
        """
        self.take = take
        self._on_gone = on_gone
        made = self._made
        self._accepting = self._loop.create_task(
            self._loop.create_unix_server(made, sock=self._listener, backlog=NEWCOMERS_MAX)
            if isinstance(self._place, str)
            else self._loop.create_server(made, sock=self._listener, backlog=NEWCOMERS_MAX)
        )
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        return self

    def send(self, frames: Sequence[bytes]) -> bool:
        """Sends a message, whose first frame is an identity; returns False while there is no room
        or connection.
        """
        peer = self._peers.get(frames[0])
        if peer is None:
            self._loop.call_soon(self._tell_gone, frames[0])
            return False
        return peer.send(frames, 1)

    def close(self) -> None:
        """Lets nobody in any more, and closes connections once what was sent has left, or after the
        linger time.
        """
        self._closing = True
        if self._accepting is not None and self._accepting.done():
            self._accepting.result().close()
        elif self._accepting is not None:
            self._accepting.cancel()
        self._listener.close()
        if self._ticking is not None:
            self._ticking.cancel()
        if _is_file(self._place):
            with suppress(OSError):
                Path(self._place).unlink()
        for peer in list(self._peers.values()):
            peer.close()
        self._note_deserted()

    async def deserted(self) -> None:
        """Returns once every connection has ended after `close`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * LINGER_S_MAX):
                await self._deserted.wait()

    def opened(self, connection: Peer) -> None:
        """Does nothing: workers speak first."""

    def spoke(self, connection: Peer) -> None:
        """Has the peer be no newcomer any more, as Owner says."""
        self._newcomers.pop(connection.identity, None)

    def has_room(self, connection: Peer) -> None:
        """Does nothing: what found no room has another rank, or waits for a beat."""

    def lost(self, connection: Peer, failure: int | None) -> None:
        """Forgets a connection, as Owner says."""
        self._newcomers.pop(connection.identity, None)
        del self._peers[connection.identity]
        if failure is not None and self._on_failure is not None:
            self._on_failure(failure)
        self._loop.call_soon(self._tell_gone, connection.identity)
        self._note_deserted()

    def _made(self) -> Connection:
        identity = next(self._numbers).to_bytes(_IDENTITY_BYTES, "big")
        peer = self._peers[identity] = Connection(
            self,
            socket_type=b"ROUTER",
            peer_type=b"DEALER",
            frame_bytes_max=FRAME_BYTES_MAX,
            identity=identity,
        )
        if self._closing:
            self._loop.call_soon(peer.abort)
        elif not _is_file(self._place):
            if len(self._newcomers) >= self._newcomers_max:
                self._shut(next(iter(self._newcomers)))
            self._newcomers[identity] = self._loop.time()
        return peer

    def _tick(self) -> None:
        self._ticking = self._loop.call_later(TICK_S, self._tick)
        long_ago = self._loop.time() - self._silent_s_max
        for newcomer in [each for each, came_at in self._newcomers.items() if came_at <= long_ago]:
            self._shut(newcomer)
        for peer in list(self._peers.values()):
            peer.tick()

    def _shut(self, newcomer: bytes) -> None:
        del self._newcomers[newcomer]
        self._peers[newcomer].abort()
        if self._complaint.due():
            log.warning("connections to the mesh at %s that say nothing are closed", self._place)

    def _tell_gone(self, identity: bytes) -> None:
        if not self._closing:
            self._on_gone(identity)

    def _note_deserted(self) -> None:
        if self._closing and not self._peers:
            self._deserted.set()


def _is_file(place: Place) -> TypeGuard[str]:
    return isinstance(place, str) and not place.startswith("\0")


def _listening(place: Place) -> socket.socket:
    if isinstance(place, str):
        require_unused(place)
        if _is_file(place):
            Path(place).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
    else:
        listener = socket.socket(socket.AF_INET6 if ":" in place[0] else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(place)
        listener.listen(NEWCOMERS_MAX)
    except OSError:
        listener.close()
        raise
    listener.settimeout(0)
    return listener
