"""Tells names by which this host alone can be meant from those that DNS can turn.

Where a server is reached from its own host only, a request under any other name is that of a web
page whose name was made to stand for this host (DNS rebinding), or comes through a proxy.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit


def names_this_host(host: bytes) -> bool:
    """Returns whether a Host header is an address or localhost, which no DNS can turn, or is empty,
    as HTTP/1.0 may leave it.
    """
    try:
        name = urlsplit(f"//{host.decode('latin-1')}").hostname or ""
        return name in ("", "localhost") or name.endswith(".localhost") or bool(ip_address(name))
    except ValueError:
        return False
