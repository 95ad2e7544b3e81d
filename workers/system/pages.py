"""The system server's pages are a plain ASGI application."""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import asdict
from typing import Any, Final

import msgspec

from protocol.error_answers import error_body, error_status
from protocol.errors import (
    BodyTooLarge,
    ClientGone,
    InternalFault,
    InvalidRequest,
    MeshError,
    MethodNotAllowed,
    Overloaded,
    RouteNotFound,
    UnsupportedMediaType,
)
from protocol.own_host import names_this_host
from workers.system.access import Access
from workers.system.board import Board
from workers.system.controls import NEWER_PREFIX, Controls
from workers.system.exposition import CONTENT_TYPE, exposition

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONTROLS_PATH: Final = "/engine/"

OTHER_CONTROLS: Final = {"/clear_kv_blocks": "flush_cache"}
"""These paths are controls of another name."""

CONTROL_BYTES_MAX: Final = 64 * 1024
"""The body of a control has at most this many bytes: some names and paths."""

WEIGHTS_BYTES_MAX: Final = 8 * 1024 * 1024
"""One that brings weights has at most this many: names, shapes or handles of a large model's
tensors, of some hundred bytes each.
"""

_WEIGHTS: Final = "update_weights_from_"

CONTROLS_ASKED_MAX: Final = 16
"""At most this many controls are asked at once.

They are done one after the other, and hold their connections meanwhile: the rest is for probes.
"""

_JSON: Final = b"application/json"
_Page = Callable[[], tuple[int, bytes, bytes]]
"""A _Page returns status, content type and body."""

_encode = msgspec.json.Encoder().encode


class SystemPages:
    """SystemPages answers GET and HEAD of pages, and POST of controls under /engine/.

    Args:
        live_path, health_path: where /live and /health are, for probes configured elsewhere.
        this_host_only: nobody else reaches the server, so that whoever asks under a name is a web
        page whose name was made to stand for this host (DNS rebinding).
        token: what who asks something must show; empty where nobody has one.
    """

    def __init__(
        self,
        board: Board,
        controls: Controls,
        *,
        live_path: str = "/live",
        health_path: str = "/health",
        this_host_only: bool = True,
        token: str = "",
    ) -> None:
        self._board = board
        self._this_host_only = this_host_only
        self._access = Access(token, this_host_only=this_host_only)
        self._controls_asked = 0
        self._controls = controls
        self._pages: dict[str, _Page] = {
            live_path: self._live,
            "/ready": self._ready,
            health_path: self._health,
            "/metrics": self._metrics,
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request. Only a control's body is read."""
        if scope["type"] != "http":
            return
        if self._this_host_only and not names_this_host(_header(scope, b"host")):
            status, content_type, body = (
                403,
                _JSON,
                error_body(InvalidRequest("The Host header must be an IP address or localhost.")),
            )
        elif scope["path"].startswith(CONTROLS_PATH) or scope["path"] in OTHER_CONTROLS:
            status, content_type, body = await self._control(scope, receive)
        else:
            status, content_type, body = self._answer(scope["method"], scope["path"])
        headers = [
            (b"content-type", content_type),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(
            {"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body}
        )

    def _answer(self, method: str, path: str) -> tuple[int, bytes, bytes]:
        page = self._pages.get(path)
        if page is None:
            return _error(
                RouteNotFound(f"There is no {path[:200]} here. There are {', '.join(self._pages)}.")
            )
        if method not in ("GET", "HEAD"):
            return _error(MethodNotAllowed(f"{path} takes GET."))
        return page()

    async def _control(self, scope: Message, receive: Receive) -> tuple[int, bytes, bytes]:
        """Answers a control with JSON for JSON, and not for web pages: a browser says where a POST
        comes from, and cannot send this media type unasked.
        """
        if _header(scope, b"origin"):
            return 403, _JSON, error_body(InvalidRequest(f"{CONTROLS_PATH} is not for web pages."))
        if refusal := self._access.refusal(_header(scope, b"authorization")):
            status, reason = refusal
            return status, _JSON, error_body(InvalidRequest(reason))
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"{CONTROLS_PATH} takes POST.")
            media_type = _header(scope, b"content-type").split(b";")[0].strip().lower()
            if media_type != _JSON:
                raise UnsupportedMediaType(
                    "The body must be JSON, and content-type: application/json say so."
                )
            path: str = scope["path"]
            name = OTHER_CONTROLS.get(path) or path.removeprefix(CONTROLS_PATH)
            brings = name.removeprefix(NEWER_PREFIX).startswith(_WEIGHTS)
            body = await _body(receive, WEIGHTS_BYTES_MAX if brings else CONTROL_BYTES_MAX)
            if self._controls_asked >= CONTROLS_ASKED_MAX:
                raise Overloaded(f"{self._controls_asked} others ask something of this worker.")
            self._controls_asked += 1
            try:
                answer = await self._controls.ask(name, body)
            finally:
                self._controls_asked -= 1
            return 200, _JSON, _encode(answer)
        except MeshError as error:
            return _error(error)
        except Exception:
            log.exception("a control failed")
            return _error(InternalFault("The worker had an error while processing this request."))

    def _live(self) -> tuple[int, bytes, bytes]:
        """Returns the page that says whether the loop turns, which is whether a restart would help.

        A sick engine is not this page's matter, nor is loading.
        """
        phase, stalled_s = self._board.state.phase, self._board.stalled_s()
        if stalled_s:
            reasons = [f"the worker's loop has not turned for {stalled_s:.1f} s"]
            return 503, _JSON, _encode({"status": "not live", "phase": phase, "reasons": reasons})
        return 200, _JSON, _encode({"status": "live", "phase": phase})

    def _ready(self) -> tuple[int, bytes, bytes]:
        """Returns the page that says whether frontends send work here."""
        reasons = self._board.reasons_not_ready()
        if reasons:
            return 503, _JSON, _encode({"status": "not ready", "reasons": reasons})
        return 200, _JSON, _encode({"status": "ready"})

    def _health(self) -> tuple[int, bytes, bytes]:
        """Returns the page that says whether the worker can do work, and all that it knows of
        itself.
        """
        state, reasons = self._board.state, self._board.reasons_not_healthy()
        report = {
            "status": "unhealthy" if reasons else state.operated.state or "healthy",
            "phase": state.phase,
            "reasons": reasons,
            "worker_id": self._board.worker_id,
            "uptime_s": round(self._board.uptime_s, 3),
            "requests_running": state.requests_running,
            "frontends_connected": state.frontends_connected,
            "takes_requests": state.takes_requests,
            "operated_reason": state.operated.reason,
            "weight_version": state.operated.weight_version,
            "ranks": [
                {"dp_rank": number, **asdict(rank)} for number, rank in enumerate(state.ranks)
            ],
        }
        return 503 if reasons else 200, _JSON, _encode(report)

    def _metrics(self) -> tuple[int, bytes, bytes]:
        return 200, CONTENT_TYPE, exposition(self._board)


async def _body(receive: Receive, bytes_max: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("The client left.")
        body += message.get("body", b"")
        if len(body) > bytes_max:
            raise BodyTooLarge(f"The body may have at most {bytes_max} bytes.")
        if not message.get("more_body"):
            return bytes(body)


def _header(scope: Message, name: bytes) -> bytes:
    return dict(scope["headers"]).get(name, b"")


def _error(error: MeshError) -> tuple[int, bytes, bytes]:
    return error_status(error), _JSON, error_body(error)
