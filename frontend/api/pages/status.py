"""GET / is a page for people, GET /status what it shows as JSON, GET /status/events the same as
events, one a second, and GET /status/requests/ID where the time of a request went.
"""

import asyncio
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.routing import Route

from frontend.drain import Drain, refusal
from frontend.http.asgi import HEAD_ONLY, Receive, Scope, Send
from frontend.http.exchange import Exchange
from frontend.http.headers import EVENTS
from frontend.http.leaving import leaving_of
from frontend.status import page
from frontend.status.board import Board
from protocol.errors import ClientGone, Overloaded, RouteNotFound

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_FILES: Final = {
    path.name: (path.read_bytes(), _TYPES[path.suffix])
    for path in sorted(Path(page.__file__).parent.iterdir())
    if path.suffix in _TYPES
}
"""Maps the page's files by name to what they hold and their media types: read with this module,
since nothing may wait for a disk on the loop.
"""

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Lets the page load what this server has, and run no script that a text may hold."""

_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",  # kept, and asked for again by its tag
}

_SAME_ORIGIN: Final = (b"cross-origin-resource-policy", b"same-origin")
_EVENTS: Final = [*EVENTS, _SAME_ORIGIN]
_LIVE: Final = {"cache-control": "no-store", _SAME_ORIGIN[0].decode(): _SAME_ORIGIN[1].decode()}


def add_status(app: FastAPI, board: Board, drain: Drain[Exchange]) -> None:
    """Adds the page, its files and what it is fed with."""

    @app.get("/status", include_in_schema=False)
    async def snapshot() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(await board.page(), headers=_LIVE, media_type="application/json")

    @app.get("/status/requests/{request_id}", include_in_schema=False)
    async def request(request_id: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        told = await board.request(request_id)
        if told is None:
            raise RouteNotFound(
                "No request of that id has ended lately; the log knows older ones.",
                param="request_id",
            )
        return Response(told, headers=_LIVE, media_type="application/json")

    app.router.routes.append(Route("/status/events", _Events(board, drain), methods=["GET"]))
    for name, (body, media_type) in _FILES.items():
        _add_file(app, name, body, media_type)


class _Events:
    """An ASGI application, since it has to know when a watcher begins and when it is gone."""

    def __init__(self, board: Board, drain: Drain[Exchange]) -> None:
        self._board = board
        self._drain = drain

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        if self._drain.begun:
            raise refusal()
        if scope.get(HEAD_ONLY):  # who asks so watches nothing
            await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
            await send({"type": "http.response.body", "body": b""})
            return
        if self._board.feed.is_full:
            raise Overloaded("As many watch the status of this frontend as may.", retry_after_s=5)
        with suppress(ClientGone):
            await leaving_of(scope).until(self._tell(send), asyncio.current_task())

    async def _tell(self, send: Send) -> None:
        with self._board.feed.watched() as watch:
            await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
            event: bytes | None = await self._board.first_event()
            while event is not None:
                await send({"type": "http.response.body", "body": event, "more_body": True})
                event = await watch.next()
            await send({"type": "http.response.body", "body": b""})


def _add_file(app: FastAPI, name: str, body: bytes, media_type: str) -> None:
    tag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    headers = _HEADERS | {"etag": tag}

    async def file(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=media_type)

    route = "/" if name == "index.html" else f"/status/{name}"
    app.add_api_route(route, file, include_in_schema=False)
