"""A worker says which frontends it does not hear, and why.

A wrong address, key or port would be silent for ever: any may come later.
"""

import logging
import socket
import threading
from collections.abc import Collection, Sequence
from typing import Final
from urllib.parse import urlsplit

from protocol.transport.sockets import path_of
from protocol.transport.zmtp import GREETING, MECHANISM, SIGNATURE, VERSION_END

log = logging.getLogger(__name__)

SAID_AFTER_S: Final = 10.0
"""A frontend's silence is told after this many seconds: one that starts at the same time answers
within a second or two.
"""

SAID_AGAIN_S: Final = 60.0
PROBE_S_MAX: Final = 2.0


class Unheard:
    """An Unheard looks into silent addresses in a thread of its own, as long as it finds something
    to say.

    Args:
        keyed: whether the worker has a mesh key.
    """

    def __init__(self, *, keyed: bool) -> None:
        self._keyed = keyed
        self._due_at: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def look(self, silent: Collection[str], now: float) -> None:
        """Looks into the addresses of which nothing is heard; to be called every few seconds.

        Returns at once.
        """
        self._due_at = {
            address: self._due_at.get(address, now + SAID_AFTER_S) for address in silent
        }
        due = [address for address, due_at in self._due_at.items() if due_at <= now]
        if due and (self._thread is None or not self._thread.is_alive()):
            self._due_at |= dict.fromkeys(due, now + SAID_AGAIN_S)
            self._thread = threading.Thread(
                target=_say, args=(due, self._keyed), name="unheard", daemon=True
            )
            self._thread.start()


def why_unheard(address: str, *, keyed: bool) -> str:
    """Returns what is wrong at an address, as far as its first bytes tell.

    Blocks for at most some seconds.
    """
    try:
        greeting = _greeting(address)
    except socket.gaierror as error:
        return f"its name does not resolve: {error.strerror}"
    except OSError as error:
        return f"it cannot be reached: {error.strerror or error}"
    return _what_it_says(greeting, keyed=keyed)


def _what_it_says(greeting: bytes, *, keyed: bool) -> str:
    if greeting.startswith(b"HTTP/"):
        return (
            "HTTP is spoken there; --frontend takes the mesh address of a frontend, its --mesh-bind"
        )
    if not (greeting[:1] == SIGNATURE[:1] and len(greeting) == MECHANISM.stop):
        return "what answers there is no mesh port of a frontend"
    their_key = greeting[MECHANISM].rstrip(b"\0") == b"CURVE"
    if their_key and keyed:
        return (
            "it has a mesh key, as this worker has; if this is said again, the keys differ: "
            "--mesh-key-file must be the same everywhere"
        )
    if their_key:
        return "it has a mesh key and this worker none: give it the same --mesh-key-file"
    return (
        "it has no mesh key and this worker has one"
        if keyed
        else "it takes connections and does not answer"
    )


def _say(addresses: Sequence[str], keyed: bool) -> None:
    for address in addresses:
        log.warning(
            "nothing is heard of the frontend at %s, so it sends no work: %s",
            address,
            why_unheard(address, keyed=keyed),
        )


def _greeting(address: str) -> bytes:
    """Returns the first bytes that are said at an address, up to the name of the mechanism; fewer
    if it hangs up or falls silent.

    Raises:
        OSError: there is no connection.
    """
    said = b""
    with _connected(address) as connection:
        try:
            connection.sendall(GREETING[:VERSION_END])
            while len(said) < MECHANISM.stop and (
                more := connection.recv(MECHANISM.stop - len(said))
            ):
                said += more
        except OSError:
            pass  # it is judged by what it said
    return said


def _connected(address: str) -> socket.socket:
    parts = urlsplit(address)
    if parts.scheme != "ipc":
        return socket.create_connection((parts.hostname, parts.port), timeout=PROBE_S_MAX)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(PROBE_S_MAX)
        connection.connect(path_of(address))
    except OSError:
        connection.close()
        raise
    return connection
