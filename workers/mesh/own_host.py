"""Under which address a frontend, or whoever it tells, reaches a server of this worker's host."""

import socket
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from protocol.disaggregation import BootstrapServer
from protocol.process.own_directory import process_directory
from protocol.transport.sockets import is_local

LOOPBACK: Final = "127.0.0.1"

WILDCARDS: Final = ("0.0.0.0", "::", "")  # noqa: S104 - recognised, not bound
"""A server of such a host listens on every interface."""


def bind_near(frontends: Sequence[str], port: int, name: str) -> str:
    """Returns where a worker binds a socket for those who hear of it from its frontends.

    If all those are on this host, so is the socket; if all are paths, so is it, under the name.

    Args:
        port: 0 for any.
    """
    if not port and all(address.startswith("ipc://") for address in frontends):
        return f"ipc://{process_directory()}/{name}"
    local = all(is_local(address) for address in frontends)
    return f"tcp://{LOOPBACK if local else '*'}:{port or '*'}"


def own_host_towards(frontend: str) -> str:
    """Returns the address of the interface by which this host reaches a frontend, in brackets if it
    is one of IPv6.

    Connecting a UDP socket sends nothing.

    Raises:
        OSError: there is no way to the frontend at the moment.
    """
    if is_local(frontend):
        return LOOPBACK
    parts = urlsplit(frontend)
    assert parts.hostname is not None
    family = socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((parts.hostname, parts.port or 1))
        host = str(probe.getsockname()[0])
    return f"[{host}]" if ":" in host else host


def reached_from(frontend: str, server: BootstrapServer | None) -> BootstrapServer | None:
    """Returns where other hosts find a bootstrap server that may listen on every interface.

    Raises:
        OSError: there is no way to the frontend at the moment.
    """
    if server is None or server.host not in WILDCARDS:
        return server
    return BootstrapServer(own_host_towards(frontend), server.port)
