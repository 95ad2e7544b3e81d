"""Takes from a request its wish for another protocol than HTTP/1.1.

RFC 9110 7.8 lets a server ignore it, and clients count on that: Java's HttpClient, and curl with
`--http2`, ask for HTTP/2 with every first request of a connection that is not encrypted. But
llhttp, the parser, takes what follows such a head for the other protocol, so that its body would be
read as the next request.
"""

from collections.abc import Iterable
from typing import Any

_OF_UPGRADES = (b"upgrade", b"http2-settings")


def head_without_upgrade(parser: Any, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Returns the head of a request that asks for another protocol, as it would be if it did not.

    Args:
        parser: which has just read the head.
        headers: with names in lower case.
    Raises:
        ValueError: its method is CONNECT.
    """
    method = parser.get_method()
    if method == b"CONNECT":
        raise ValueError("this is no proxy")
    lines = [b"%b %b HTTP/%b" % (method, url, parser.get_http_version().encode())]
    for name, value in headers:
        if name == b"connection":
            options = [option.strip() for option in value.split(b",")]
            kept = [option for option in options if option.lower() not in _OF_UPGRADES]
            if kept:
                lines.append(b"connection: " + b", ".join(kept))
        elif name not in _OF_UPGRADES:
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
