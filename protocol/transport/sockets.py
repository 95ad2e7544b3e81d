"""Opens ZMQ sockets as every plane has them: bounded, and keyed when they leave the host."""

import socket as sockets
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import zmq

from protocol.limits import (
    CURVE_BYTES,
    FRAME_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    MESSAGES_QUEUED_MAX,
)
from protocol.process.own_directory import OWN_DIRECTORY, own_directory
from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey

LINGER_S_MAX: Final = 0.5
"""Bounds how long closing waits for messages to leave (Goodbye); more would delay an exit that
nobody listens to.
"""

RECONNECT_S: Final = 0.1
"""Is the pause before a lost connection is dialled again; it doubles with each try."""

RECONNECT_S_MAX: Final = 2.0

CONNECT_S_MAX: Final = 3.0
"""Bounds one try of a connection, in which the kernel asks twice: it asks again after 1, 2, 4 … 64
s, so that who was away for a minute would be missed for another.
"""

HANDSHAKE_S_MAX: Final = 5.0
"""Bounds how long a peer may take to prove the key; ZMQ's own 30 s are for dial-up."""

SILENCE_S_MAX: Final = 3.0
"""Bounds how long a peer may be silent while it is asked for a sign of life every second."""

ROUTER_SILENCE_S_MAX: Final = 12.0
"""Bounds the same of who dialled us: longer than frontends miss a worker
(frontend/fleet/missed.py), whose connection must not end before.
"""

IPC: Final = "ipc://"

Socket = zmq.Socket[bytes]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def bound_router(context: "zmq.Context[Socket]", address: str, key: MeshKey | None) -> Socket:
    """Returns a ROUTER bound to `address` that refuses to drop silently (ROUTER_MANDATORY).

    Raises:
        StartError: other hosts can reach the address and there is no key.
        zmq.ZMQError: the address is taken or malformed.
    """
    socket = _server(context, zmq.ROUTER, address, key)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _ms(ROUTER_SILENCE_S_MAX))
    return _attached(socket, socket.bind, address)


def connected_dealer(context: "zmq.Context[Socket]", address: str, key: MeshKey | None) -> Socket:
    """Returns a DEALER that connects to `address` and reconnects by itself.

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
    """Returns a PUB bound to `address`.

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
    """Returns a SUB that is subscribed to everything and connected to nothing yet; `require_key`
    goes before each connect.
    """
    socket = _client(context, zmq.SUB, key)
    socket.setsockopt(zmq.RCVHWM, messages_queued_max)
    _reconnecting(socket)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    return socket


def asking_dealer(
    context: "zmq.Context[Socket]",
    address: str,
    key: MeshKey | None,
    *,
    answers_held_max: int = 0,
    silence_ms_max: int = _ms(SILENCE_S_MAX),
) -> Socket:
    """Returns a DEALER for questions, which may be asked before the connection stands.

    Args:
        answers_held_max: messages kept here unread; 0 for any number, where a ROUTER that is not
        ours would drop what finds no room.
        silence_ms_max: after which the connection counts as lost; to ZMQ, so long as the largest
        frame takes to arrive.
    Raises:
        StartError: the address is on another host and there is no key.
        zmq.ZMQError: the address is malformed.
    """
    require_key(address, key)
    socket = _client(context, zmq.DEALER, key)
    socket.setsockopt(zmq.RCVHWM, answers_held_max)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, silence_ms_max)
    return _attached(socket, socket.connect, address)


def endpoint_of(socket: Socket) -> str:
    """Returns the address that a bound socket got, its port included."""
    endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.rstrip(b"\0").decode()


def reached_at(host: str, endpoint: str) -> str:
    """Returns an endpoint of this host for those who reach it as `host`; a path is the same for
    all.
    """
    parts = urlsplit(endpoint)
    return endpoint if parts.scheme == "ipc" else f"tcp://{host}:{parts.port}"


def path_of(address: str) -> str:
    """Returns what an ipc address is to the kernel: the path of a file, or for what begins with @,
    as ZeroMQ reads it too, one of Linux's abstract names, which begin with a zero.
    """
    path = address.removeprefix(IPC)
    return f"\0{path[1:]}" if path.startswith("@") else path


def with_port(address: str, port: int) -> str:
    """Returns a tcp address with the port that was bound, where its own may be any free one."""
    return f"{address.rpartition(':')[0]}:{port}"


def is_local(address: str) -> bool:
    """Returns whether only this host can reach the address."""
    if address.startswith((IPC, "inproc://")):
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
    """Checks that a socket for `address` may be opened.

    Raises:
        StartError: the address leaves this host and there is no key, or it is in a directory of
        this user that others may enter.
    """
    if address.startswith(f"{IPC}{OWN_DIRECTORY}/"):
        own_directory()
    if key is None and not is_local(address):
        raise StartError(
            f"{address} leaves this host, so the mesh needs a key: put 64 hex digits into a "
            "file (openssl rand -hex 32)"
            " and give every frontend and worker --mesh-key-file FILE"
        )


def _server(context: "zmq.Context[Socket]", kind: int, address: str, key: MeshKey | None) -> Socket:
    """Returns a socket about to bind `address`, which admits only holders of the key."""
    require_key(address, key)
    if address.startswith(IPC):
        require_unused(path_of(address))
    socket = context.socket(kind)
    _bound(socket)
    socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX + CURVE_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _ms(HANDSHAKE_S_MAX))
    if key is not None:
        key.protect_server(socket)
    return socket


def require_unused(path: str) -> None:
    """Refuses a path or abstract name where somebody listens, as the kernel does with ports: who
    binds it after that would take it from them.

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
    """Returns a socket about to connect, which proves the key and expects it of the server."""
    socket = context.socket(kind)
    _bound(socket)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, _ms(CONNECT_S_MAX))
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
    socket.setsockopt(zmq.LINGER, _ms(LINGER_S_MAX))
    socket.setsockopt(zmq.SNDHWM, MESSAGES_QUEUED_MAX)
    socket.setsockopt(zmq.RCVHWM, MESSAGES_QUEUED_MAX)
    socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
    socket.setsockopt(zmq.IPV6, 1)
    # A peer whose host vanished leaves a half-open connection; the kernel would keep it for hours.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 1_000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _ms(SILENCE_S_MAX))


def _reconnecting(socket: Socket) -> None:
    socket.setsockopt(zmq.RECONNECT_IVL, _ms(RECONNECT_S))
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _ms(RECONNECT_S_MAX))
