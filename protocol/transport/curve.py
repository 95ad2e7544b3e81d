"""Turns one shared secret of the whole mesh into the CURVE keys of both sides.

CURVE wants a key pair per side and a list of allowed clients. A mesh is one trust domain, so both
pairs are derived from one 32-byte secret that every frontend and worker reads from a file: there is
one thing to distribute and to rotate.
"""

import logging
import stat
from copy import copy
from hashlib import blake2b
from pathlib import Path
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

from protocol.process.start_error import StartError

log = logging.getLogger(__name__)

_SECRET_HEX_DIGITS = 64
_ZAP_DOMAIN = "kvmesh"


class MeshKey:
    """A MeshKey holds the mesh secret and protects the sockets of either side."""

    def __init__(self, secret: bytes) -> None:
        self._server_secret = z85.encode(
            blake2b(secret, digest_size=32, person=b"kvmesh-server").digest()
        )
        self._client_secret = z85.encode(
            blake2b(secret, digest_size=32, person=b"kvmesh-client").digest()
        )
        self._server_public = zmq.curve_public(self._server_secret)
        self._client_public = zmq.curve_public(self._client_secret)
        self._authenticator: ThreadAuthenticator | None = None

    @classmethod
    def from_file(cls, path: str | None) -> "MeshKey | None":
        """Reads a mesh key of 64 hex digits from a file; returns None without a path.

        Raises:
            StartError: the file is missing or holds something else.
        """
        if path is None:
            return None
        try:
            secret = bytes.fromhex(Path(path).expanduser().read_text().strip())
        except (OSError, ValueError):
            raise StartError(f"cannot read 64 hex digits from the mesh key file {path}") from None
        if len(secret) * 2 != _SECRET_HEX_DIGITS:
            raise StartError(f"the mesh key file {path} must hold exactly 64 hex digits")
        return cls(secret)

    def protect_server(self, socket: "zmq.Socket[bytes]") -> None:
        """Makes a socket that is about to bind admit only holders of the secret."""
        if self._authenticator is None:
            self._authenticator = ThreadAuthenticator(socket.context)  # pyright: ignore[reportUnknownMemberType]
            self._authenticator.start()
            self._authenticator.configure_curve_callback(_ZAP_DOMAIN, credentials_provider=self)
        socket.setsockopt(zmq.ZAP_DOMAIN, _ZAP_DOMAIN.encode())
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._server_secret)

    def protect_client(self, socket: "zmq.Socket[bytes]") -> None:
        """Makes a socket that is about to connect prove the secret and expect it of the server."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, self._server_public)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._client_public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._client_secret)

    def for_another_context(self) -> "MeshKey":
        """Returns the same key for sockets of another context, since its thread, which checks
        clients, belongs to one.
        """
        twin = copy(self)
        twin._authenticator = None
        return twin

    def callback(self, domain: str, key: Any) -> bool:
        """Returns whether a client key is allowed, which pyzmq's authenticator asks."""
        return domain == _ZAP_DOMAIN and key == self._client_public

    def close(self) -> None:
        """Ends the authenticator's thread."""
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None


def own_key(path: str | None) -> MeshKey | None:
    """Returns the key of a process that is about to start, and warns of a file that any user of
    this host may read: it is taken all the same, since containers are given secrets so.

    Raises:
        StartError: as `MeshKey.from_file`.
    """
    key = MeshKey.from_file(path)
    if path is not None and (mode := Path(path).expanduser().stat().st_mode) & stat.S_IRWXO:
        log.warning(
            "any user of this host may read the mesh key in %s (mode %04o), and join the mesh or "
            "listen to it: chmod 600 keeps others from it",
            path,
            stat.S_IMODE(mode),
        )
    return key
