"""Ends answers of unknown length with the connection for HTTP/1.0, which knows no chunks."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp

from frontend.http.cycle import Cycle


def until_close(app: ASGIApp, cycle: Cycle) -> ASGIApp:
    """Returns `app` for one request of HTTP/1.0. uvicorn cuts what has no content-length into
    chunks, whatever the version.

    It closes the connection of such a request anyway, so here each piece of a body passes as one of
    the length that it has.
    """

    async def run(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        lasts_until_close = False

        async def send_plainly(message: Any) -> None:
            nonlocal lasts_until_close
            if message["type"] == "http.response.start":
                lasts_until_close = all(
                    name.lower() != b"content-length" for name, _ in message.get("headers", ())
                )
                if lasts_until_close:
                    cycle.chunked_encoding = False
            elif lasts_until_close:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_plainly)

    return run
