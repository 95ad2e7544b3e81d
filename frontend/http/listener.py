"""Opens the listening socket, with the bounds that the kernel keeps for every connection it
accepts.
"""

import socket
from ipaddress import ip_address
from typing import Final

from protocol.process.start_error import StartError

BACKLOG_CONNECTIONS: Final = 2_048
"""Bounds the connections that the kernel holds while the loop is busy."""

UNSENT_BYTES_MAX: Final = 64 * 1024
"""Bounds what the kernel keeps for a client that does not read, beside the 64 KiB of asyncio's own;
without it up to 4 MB. Bytes under way to a client that does read are not counted, so it costs no
throughput.
"""

UNACKNOWLEDGED_S_MAX: Final = 30
"""Bounds how long a client may confirm nothing, be it data or a probe on a silent connection; then
it is gone: its machine or its network died, or it has not read for that long what the kernel holds
for it.
"""

PROBE_S: Final = 10
"""Is the time between two probes of a silent connection."""


def listen(host: str, port: int) -> socket.socket:
    """Returns a listening TCP socket; what it accepts inherits its options.

    "::" stands for every address of the host, those of IPv4 too.

    Raises:
        StartError: the address cannot be listened on.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        both = (
            family == socket.AF_INET6
            and ip_address(host).is_unspecified
            and socket.has_dualstack_ipv6()
        )
        listener = socket.create_server(
            (host, port), family=family, backlog=BACKLOG_CONNECTIONS, dualstack_ipv6=both
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise StartError(f"cannot serve HTTP on {host}:{port}: {reason}") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # By name, since other systems than Linux lack some of them.
    for option, value in (
        ("TCP_NOTSENT_LOWAT", UNSENT_BYTES_MAX),
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_S_MAX * 1000),
        ("TCP_KEEPIDLE", PROBE_S),
        ("TCP_KEEPINTVL", PROBE_S),
        ("TCP_KEEPCNT", UNACKNOWLEDGED_S_MAX // PROBE_S),
    ):
        number = getattr(socket, option, None)
        if number is not None:
            listener.setsockopt(socket.IPPROTO_TCP, number, value)
    return listener
