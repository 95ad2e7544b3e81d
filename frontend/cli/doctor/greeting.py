"""What is spoken at a TCP port is found out by the first words of whoever listens there."""

import socket
from contextlib import suppress
from enum import Enum
from typing import Final

from protocol.transport.zmtp import GREETING, MECHANISM, NULL, SIGNATURE, VERSION_END

FIRST_WORD_S_MAX: Final = 0.5
"""Bounds how long a listener that speaks first may take for it; one of this host takes less than a
millisecond, unless it is stopped.
"""

WORDS_S_MAX: Final = 2.0
"""Bounds each later wait for a word."""

# The first words of a peer: signature and version. Who listens has said its signature by then, and
# says the rest of its greeting, mechanism included, upon these. Nothing more is said, so that
# nothing of it is a failed handshake.
_ZMTP: Final = GREETING[:VERSION_END]

# Behind it a worker does what it is asked to, with POST; a GET changes nothing, and is refused
# before anything else where a token is missing.
_HTTP: Final = b"GET /engine/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
_REFUSALS: Final = (b"401", b"403")


class Spoken(Enum):
    """A Spoken is what listens at a port, as far as its first words tell."""

    KEYED_MESH = "ZeroMQ with a key"
    OPEN_MESH = "ZeroMQ without a key"
    HTTP = "HTTP"
    GUARDED_HTTP = "HTTP, and nothing is done without a token"
    UNKNOWN = "something else"


def spoken_at(host: str, port: int) -> Spoken:
    """Returns what is spoken at an address of this host."""
    with suppress(OSError), socket.create_connection((host, port), WORDS_S_MAX) as connection:
        connection.settimeout(FIRST_WORD_S_MAX)
        first = b""
        with suppress(TimeoutError):
            first = connection.recv(1)
        connection.settimeout(WORDS_S_MAX)
        if first == SIGNATURE[:1]:
            connection.sendall(_ZMTP)
            greeting = first + _words(connection, MECHANISM.stop - 1)
            if len(greeting) == MECHANISM.stop:
                mechanism = greeting[MECHANISM].rstrip(b"\0")
                return Spoken.OPEN_MESH if mechanism == NULL else Spoken.KEYED_MESH
        elif not first:
            connection.sendall(_HTTP)
            answer = _words(connection, 12)
            if answer.startswith(b"HTTP/"):
                return Spoken.GUARDED_HTTP if answer[9:] in _REFUSALS else Spoken.HTTP
    return Spoken.UNKNOWN


def _words(connection: socket.socket, count: int) -> bytes:
    """Returns the next bytes that are said, fewer than `count` where it is left at that."""
    said = b""
    while len(said) < count and (more := connection.recv(count - len(said))):
        said += more
    return said
