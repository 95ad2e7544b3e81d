"""ZMQ sockets as every plane uses them: bounded, keyed when they leave the host, and driven by the
event loop.

`SocketPump` watches the socket's descriptor itself instead of going through `zmq.asyncio`, which
makes one future and one task switch of every message. ZMQ's descriptor is edge-triggered: readiness
must be asked for (`EVENTS`) after every edge and after every send, or a message waits for the next
edge (http://api.zeromq.org/4-3:zmq-getsockopt, ZMQ_FD).
"""

import asyncio
import logging
import socket as sockets
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from time import monotonic
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import zmq

from protocol.limits import (
    CURVE_BYTES,
    FRAME_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    MESSAGES_PER_TURN_MAX,
    MESSAGES_QUEUED_MAX,
)
from protocol.process.own_directory import OWN_DIRECTORY, own_directory
from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey

_LINGER_MS = 500
"""How long closing waits for messages to leave (Goodbye); more would delay an exit that nobody
listens to.
"""

TURN_S_MAX = 0.005
"""After this long a pump lets the loop's other work go first: large messages take milliseconds
each.
"""

_RECONNECT_MS = 100
_RECONNECT_MS_MAX = 2_000

_IPC = "ipc://"

_HANDSHAKE_MS_MAX = 5_000
"""For a peer to prove the key; ZMQ's own 30 s are for dial-up."""

log = logging.getLogger(__name__)

Socket = zmq.Socket[bytes]

# As plain ints: with pyzmq's enums every & would make an enum member.
_POLLIN, _POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)


def bound_router(context: "zmq.Context[Socket]", address: str, key: MeshKey | None) -> Socket:
    """A ROUTER bound to `address` that refuses to drop silently (ROUTER_MANDATORY).

    Raises:
        StartError: other hosts can reach the address and there is no key.
        zmq.ZMQError: the address is taken or malformed.
    """
    socket = _server(context, zmq.ROUTER, address, key)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    return _attached(socket, socket.bind, address)


def connected_dealer(context: "zmq.Context[Socket]", address: str, key: MeshKey | None) -> Socket:
    """A DEALER that connects to `address` and reconnects by itself.

    Raises:
        StartError: the address is on another host and there is no key.
        zmq.ZMQError: the address is malformed.
    """
    require_key(address, key)
    socket = _client(context, zmq.DEALER, key)
    _reconnecting(socket)
    # Without this, messages to a frontend that does not exist (yet) would queue up and arrive
    # stale.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    return _attached(socket, socket.connect, address)


def bound_publisher(
    context: "zmq.Context[Socket]",
    address: str,
    key: MeshKey | None,
    *,
    messages_queued_max: int = MESSAGES_QUEUED_MAX,
) -> Socket:
    """A PUB bound to `address`.

    What a slow subscriber has no room for is dropped, as PUB does: subscribers count.

    Raises:
        StartError: other hosts can reach the address and there is no key.
        zmq.ZMQError: the address is taken or malformed.
    """
    socket = _server(context, zmq.PUB, address, key)
    socket.setsockopt(zmq.SNDHWM, messages_queued_max)
    return _attached(socket, socket.bind, address)


def subscriber(
    context: "zmq.Context[Socket]",
    key: MeshKey | None,
    *,
    messages_queued_max: int = MESSAGES_QUEUED_MAX,
) -> Socket:
    """A SUB that is subscribed to everything and connected to nothing yet; `require_key` before
    each connect.
    """
    socket = _client(context, zmq.SUB, key)
    socket.setsockopt(zmq.RCVHWM, messages_queued_max)
    _reconnecting(socket)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    return socket


def asking_dealer(
    context: "zmq.Context[Socket]", address: str, key: MeshKey | None, *, answers_held_max: int = 0
) -> Socket:
    """A DEALER for questions, which may be asked before the connection stands.

    Args:
        answers_held_max: messages kept here unread; 0 for any number, where a ROUTER that is not
        ours would drop what finds no room.
    Raises:
        StartError: the address is on another host and there is no key.
        zmq.ZMQError: the address is malformed.
    """
    require_key(address, key)
    socket = _client(context, zmq.DEALER, key)
    socket.setsockopt(zmq.RCVHWM, answers_held_max)
    socket.setsockopt(zmq.LINGER, 0)
    return _attached(socket, socket.connect, address)


def is_local(address: str) -> bool:
    """Whether only this host can reach the address."""
    if address.startswith((_IPC, "inproc://")):
        return True
    host = urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        address_itself = ip_address(host)
    except ValueError:
        return False
    return (getattr(address_itself, "ipv4_mapped", None) or address_itself).is_loopback


def require_key(address: str, key: MeshKey | None) -> None:
    """Check that a socket for `address` may be opened.

    Raises:
        StartError: the address leaves this host and there is no key, or it is in a directory of
        this user that others may enter.
    """
    if address.startswith(f"{_IPC}{OWN_DIRECTORY}/"):
        own_directory()
    if key is None and not is_local(address):
        raise StartError(
            f"{address} leaves this host, so the mesh needs a key: put 64 hex digits into a "
            "file (openssl rand -hex 32)"
            " and give every frontend and worker --mesh-key-file FILE"
        )


def _server(context: "zmq.Context[Socket]", kind: int, address: str, key: MeshKey | None) -> Socket:
    """A socket about to bind `address`, which admits only holders of the key."""
    require_key(address, key)
    if address.startswith(_IPC):
        _require_unused(address.removeprefix(_IPC))
    socket = context.socket(kind)
    _bound(socket)
    socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX + CURVE_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS_MAX)
    if key is not None:
        key.protect_server(socket)
    return socket


def _require_unused(path: str) -> None:
    """Refuse a path where somebody listens, as the kernel does with ports: ZMQ would take it from
    them.

    Raises:
        zmq.ZMQError: somebody listens there.
    """
    with sockets.socket(sockets.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return
    raise zmq.ZMQError(zmq.EADDRINUSE)


def _client(context: "zmq.Context[Socket]", kind: int, key: MeshKey | None) -> Socket:
    """A socket about to connect, which proves the key and expects it of the server."""
    socket = context.socket(kind)
    _bound(socket)
    if key is not None:
        key.protect_client(socket)
    return socket


def _attached(socket: Socket, attach: Callable[[str], object], address: str) -> Socket:
    try:
        attach(address)
    except zmq.ZMQError:
        socket.close(linger=0)  # left open it would keep context.term() waiting for ever
        raise
    return socket


def _bound(socket: Socket) -> None:
    socket.setsockopt(zmq.LINGER, _LINGER_MS)
    socket.setsockopt(zmq.SNDHWM, MESSAGES_QUEUED_MAX)
    socket.setsockopt(zmq.RCVHWM, MESSAGES_QUEUED_MAX)
    socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
    socket.setsockopt(zmq.IPV6, 1)
    # A peer whose host vanished leaves a half-open connection; the kernel would keep it for hours.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 1_000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3_000)


def _reconnecting(socket: Socket) -> None:
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MS_MAX)


class Pump(Protocol):
    """A socket of the mesh to whoever uses it; the simulation puts another transport behind it."""

    def send(self, frames: Sequence[bytes]) -> bool:
        """Hand over a message, with the peer's identity in front where the socket is a ROUTER;
        False when it cannot be sent.
        """
        ...

    def close(self) -> None:
        """Send what was handed over and close."""


OnFrames = Callable[[list[bytes]], None]

OpenDealer = Callable[[OnFrames, Callable[[], None]], Pump]
"""Connects, given what takes messages and what is called when there is room again."""

OpenRouter = Callable[[OnFrames, Callable[[bytes], None]], Pump]
"""Binds, given what takes messages and what is told of an identity that was sent to and has no
connection any more.
"""


class SocketPump:
    """Calls `on_message(frames)` on the loop for every message of `socket`, and sends without ever
    blocking.

    Args:
        on_writable: called when there is room again after a send found none.
        on_gone: of a ROUTER, called in a later turn with the identity that a message could not be
        sent to.
        receive: takes the next message in place of the socket's own method
        (protocol.transport.door).
    """

    def __init__(
        self,
        socket: Socket,
        on_message: OnFrames,
        on_writable: Callable[[], None] | None = None,
        on_gone: Callable[[bytes], None] | None = None,
        receive: Callable[[int], list[bytes]] | None = None,
    ) -> None:
        self._socket = socket
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
        """Hand a message to ZMQ.

        Returns:
            False when the peer's queue is full or the peer is gone.
        """
        try:
            self._socket.send_multipart(frames, zmq.DONTWAIT, copy=True)
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
        """Stop watching and close the socket; what was sent leaves within the linger time."""
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
        """Hand on what arrived; whether there may be more that has to wait for its turn."""
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
