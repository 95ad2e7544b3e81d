"""Refuses web pages whose host name was made to stand for this host (DNS rebinding).

To a browser this server is then the page's own, and it asks nothing before it sends what the page
wants, nor keeps the answer from it.
"""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Final

from starlette.types import ASGIApp

from frontend.http.asgi import Receive, Scope, Send
from protocol.error_answers import error_body, error_status
from protocol.errors import ForeignHost
from protocol.own_host import names_this_host

_ERROR: Final = ForeignHost(
    "The Host header of a web page's request must be localhost, an IP address or a name that "
    "--cors-origin names."
)
_BODY: Final = error_body(_ERROR)
_HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_BODY)).encode()),
    (b"connection", b"close"),  # the request's body is not read
]


def without_rebound_pages(app: ASGIApp, origins: Sequence[str], *, this_host_only: bool) -> ASGIApp:
    """Returns `app`, of which pages of other hosts get 403; itself if it is reached from other
    hosts, as whose name it may then have any.

    Browsers name a page's origin with all that changes something, and programs do not: those may
    come through a proxy that leaves them the name under which it is known. What is for people
    (/ and /status) is kept from every such name, since a page may read it without an origin.

    Args:
        origins: whose pages may call; "*" for any.
        this_host_only: it listens on loopback.
    """
    if not this_host_only or "*" in origins:
        return app
    hosts = {origin.partition("://")[2].encode().lower() for origin in origins}

    def guarded(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        for name, _ in scope["headers"]:
            if name == b"origin" and _foreign(scope["headers"], hosts):
                return _refuse(send)
        if _is_for_people(scope["path"]) and _foreign(scope["headers"], hosts):
            return _refuse(send)
        return app(scope, receive, send)

    return guarded


async def _refuse(send: Send) -> None:
    status = error_status(_ERROR)
    await send({"type": "http.response.start", "status": status, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


def _is_for_people(path: str) -> bool:
    """Returns whether this is the status page or what it shows, however many slashes it has."""
    if path[:7] not in ("/status", "/", "") and path[:2] != "//":
        return False
    path = path.strip("/")
    return path in ("", "status") or path.startswith("status/")


def _foreign(headers: Iterable[tuple[bytes, bytes]], hosts: set[bytes]) -> bool:
    host: Any = next((value for name, value in headers if name == b"host"), b"")
    return host.lower() not in hosts and not names_this_host(host)
