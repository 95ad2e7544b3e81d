"""Turns the address something listens on into one that can be dialled on this host."""

from typing import Final
from urllib.parse import urlsplit, urlunsplit

_LOOPBACK_OF: Final = {"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a lookup, not a bind


def loopback_of(host: str) -> str:
    """Returns the host under which this one reaches what listens on `host`: itself, unless it
    stands for every address.
    """
    return _LOOPBACK_OF.get(host, host)


def http_url(host: str, port: int) -> str:
    """Returns `http://HOST:PORT` for a frontend that listens on `host`, without a path."""
    return f"http://{bracketed(loopback_of(host))}:{port}"


def api_url(url: str) -> str:
    """Returns where a server's OpenAI endpoints are: under the path that its URL has, or /v1."""
    parts = urlsplit(url.rstrip("/"))
    return urlunsplit(parts._replace(path=parts.path or "/v1"))


def mesh_address_to_dial(bind: str) -> str:
    """Returns what workers on this host connect to when the frontend binds `bind`; all but the
    wildcards stand for themselves.
    """
    scheme, _, rest = bind.partition("://")
    if scheme != "tcp":
        return bind
    host, _, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    return f"tcp://{bracketed(_LOOPBACK_OF[host])}:{port}" if host in _LOOPBACK_OF else bind


def bracketed(host: str) -> str:
    """Returns a host as it stands before a port: an address of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
