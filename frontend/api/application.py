"""The frontend's ASGI callable sends hot paths straight to their handlers, and everything else to
the pages.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp

from frontend.api.endpoints import Handler, endpoints
from frontend.api.launching import Launcher
from frontend.api.pages.late import LatePages
from frontend.api.pages.probes import probes_of
from frontend.api.recording import Recording
from frontend.drain import Drain, refusal
from frontend.fleet.registry import Registry
from frontend.http.asgi import HEAD_ONLY, Receive, Scope, Send
from frontend.http.body_budget import BodyBudget
from frontend.http.deadlines import Deadlines
from frontend.http.direct_writes import DIRECT_WRITES
from frontend.http.exchange import Exchange
from frontend.http.ignored import Ignored, IgnoredLog
from frontend.http.path_patterns import PathPatterns
from frontend.http.request_id import with_request_id
from frontend.http.tidy_paths import tidied
from frontend.http.traced import begin_trace
from frontend.observe.metrics import FrontendMetrics
from frontend.observe.request_metrics import OpenRequest
from frontend.processes.siblings import Siblings
from frontend.settings import FrontendSettings, UnknownFields
from frontend.status.board import Board
from protocol.errors import MethodNotAllowed

if TYPE_CHECKING:
    from protocol.process.spans import Spans

REFUSED_BODY_S_MAX: Final = 1.0
"""The body of a request that is refused anyway is still read for so many seconds.

Closing with bytes unread makes the kernel throw the answer away.
"""


class Application:
    """An Application is the frontend's ASGI callable: it makes an Exchange of every request on a
    hot path, and counts how it ended.

    Args:
        board: shows people what goes on; None where nobody is to see it.
    """

    def __init__(
        self,
        registry: Registry,
        launcher: Launcher,
        metrics: FrontendMetrics,
        settings: FrontendSettings,
        drain: Drain[Exchange],
        *,
        board: Board | None = None,
        siblings: Siblings | None = None,
        spans: "Spans | None" = None,
    ) -> None:
        self._launcher = launcher
        self._recording = Recording(registry, metrics, spans)
        metrics.requests.open = self._open_requests
        self._spans = spans
        self._drain = drain
        self._bodies = BodyBudget()
        self._body_bytes_max = settings.body_limit_mb * 1_000_000
        self._request_timeout_s = settings.request_timeout
        self._deadlines = Deadlines(settings.request_timeout)
        self._unknown_fields: UnknownFields = settings.unknown_fields
        self._ignored_log = IgnoredLog()
        self._endpoints = endpoints(
            lambda: drain.open,
            allow_abort_all=settings.allow_abort_all,
            abort_elsewhere=None if siblings is None else siblings.abort,
        )
        self._patterns = PathPatterns(self._endpoints)
        probes = probes_of(registry, metrics, drain, settings, siblings)

        def build() -> ASGIApp:
            from frontend.api.pages.app import build_routes  # noqa: PLC0415 - loads FastAPI

            return build_routes(registry, drain, board, endpoints=self._endpoints, probes=probes)

        self._pages = LatePages(probes, build)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            scope.pop(DIRECT_WRITES, None)
            scope = tidied(scope)
            path = self._patterns.pattern_of(scope["path"])
            endpoint = self._endpoints.get(path)
        if endpoint is None:
            await self._pages(_as_get(scope), receive, with_request_id(scope, send))
            return
        handler = endpoint.handler
        if scope["method"] not in endpoint.methods:
            handler = _other_method(scope["method"], endpoint.methods)
        elif self._drain.refusing:
            handler = _refuse
        exchange = Exchange(
            scope,
            receive,
            send,
            body_bytes_max=self._body_bytes_max,
            budget=self._bodies,
            timeout_s=self._request_timeout_s,
            deadlines=self._deadlines,
            now_unix_s=time.time(),
            ignored=Ignored(self._unknown_fields),
        )
        exchange.errors, exchange.endpoint = endpoint.errors, endpoint.name
        exchange.runs_model = endpoint.runs_model and scope["method"] == "POST"
        if self._spans is not None:
            begin_trace(exchange, self._spans, path)
        self._drain.enter(exchange)
        try:
            error = await exchange.answer(handler, self._launcher)
        finally:
            self._drain.leave(exchange)
        if exchange.ignored.names:
            self._ignored_log.note(exchange.ignored, path)
        self._recording.end(exchange, path, error)

    def _open_requests(self) -> Iterator[OpenRequest]:
        return self._recording.open(self._drain.open)


def _as_get(scope: Scope) -> Scope:
    """Returns the scope of a HEAD as that of a GET, for which HEAD_ONLY says so: the server, which
    reads its own scope, leaves out the body.
    """
    return {**scope, "method": "GET", HEAD_ONLY: True} if scope["method"] == "HEAD" else scope


def _other_method(method: str, allowed: tuple[str, ...]) -> Handler:
    """Returns the handler that answers a method which the path does not take."""

    refused = MethodNotAllowed(f"{method} is not allowed here.", allowed=allowed)

    async def other(exchange: Exchange, launcher: Launcher) -> None:  # noqa: ARG001 - a Handler
        if method != "OPTIONS":
            raise refused
        await exchange.send_nothing([(b"allow", refused.allow.encode())])

    return other


async def _refuse(exchange: Exchange, launcher: Launcher) -> None:  # noqa: ARG001 - a Handler
    try:
        async with asyncio.timeout(REFUSED_BODY_S_MAX):
            await exchange.read_body()
    except TimeoutError:
        pass
    raise refusal()
