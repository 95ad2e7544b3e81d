"""The ASGI callable: hot paths straight to their handlers, everything else to FastAPI."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from frontend.api.anthropic.endpoint import count_message_tokens, messages
from frontend.api.anthropic.errors import ANTHROPIC_ERRORS
from frontend.api.fields.ignored import Ignored, IgnoredLog, UnknownFields
from frontend.api.launching import Launcher
from frontend.api.native.abort_request import Aborter
from frontend.api.native.endpoint import generate
from frontend.api.native.health_generate import health_generate
from frontend.api.native.tokenizing import detokenize, tokenize
from frontend.api.openai.chat import chat_completions
from frontend.api.openai.completions import completions
from frontend.api.pages.app import build_routes
from frontend.api.responses.endpoint import responses
from frontend.api.vectors.embeddings import embeddings
from frontend.api.vectors.rerank import rerank, score
from frontend.drain import Drain, refusal
from frontend.http.asgi import Receive, Scope, Send
from frontend.http.body_budget import BodyBudget
from frontend.http.error_forms import OPENAI_ERRORS, ErrorForm
from frontend.http.exchange import Exchange
from frontend.http.request_id import with_request_id
from frontend.http.tidy_paths import tidied
from frontend.mesh.membership import Mesh
from frontend.observe.metrics import FrontendMetrics
from frontend.observe.request_log import log_request
from frontend.settings import FrontendSettings
from protocol.errors import MethodNotAllowed

Handler = Callable[[Exchange, Launcher], Awaitable[None]]

HOT_PATHS: Final[dict[str, Handler]] = {
    "/v1/chat/completions": chat_completions,
    "/v1/completions": completions,
    "/v1/embeddings": embeddings,
    "/v1/rerank": rerank,
    "/v1/score": score,
    "/rerank": rerank,
    "/score": score,
    "/v1/responses": responses,
    "/v1/messages": messages,
    "/v1/messages/count_tokens": count_message_tokens,
    "/generate": generate,
    "/tokenize": tokenize,
    "/v1/tokenize": tokenize,
    "/detokenize": detokenize,
    "/v1/detokenize": detokenize,
}
"""Those that every frontend has. All are POST."""

ABORT_PATH: Final = "/abort_request"
HEALTH_GENERATE_PATH: Final = "/health_generate"
"""An exchange too, since it runs something; the only one without POST."""

ERROR_FORMS: Final[dict[str, ErrorForm]] = {
    "/v1/messages": ANTHROPIC_ERRORS,
    "/v1/messages/count_tokens": ANTHROPIC_ERRORS,
}
"""Of those that do not say it as OpenAI does."""

_POST: Final = ("POST",)
_GET: Final = ("GET", "HEAD")

REFUSED_BODY_S_MAX: Final = 1.0
"""For the body of a request that is refused anyway.

Closing with bytes unread makes the kernel throw the answer away.
"""


class Application:
    """Makes an Exchange of every request on a hot path, and counts how it ended."""

    def __init__(
        self,
        mesh: Mesh,
        launcher: Launcher,
        metrics: FrontendMetrics,
        settings: FrontendSettings,
        drain: Drain[Exchange],
    ) -> None:
        self._now = asyncio.get_running_loop().time
        self._runner = launcher
        self._registry = mesh.registry
        self._answers = metrics.answers
        self._drain = drain
        self._bodies = BodyBudget()
        self._body_bytes_max = settings.body_limit_mb * 1_000_000
        self._request_timeout_s = settings.request_timeout
        self._unknown_fields: UnknownFields = settings.unknown_fields
        self._ignored_log = IgnoredLog()
        self._posts = HOT_PATHS | {
            ABORT_PATH: Aborter(lambda: drain.open, allow_all=settings.allow_abort_all)
        }
        self._routes = build_routes(mesh, metrics, drain, settings, hot_paths=self._posts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        handler, methods = self._posts.get(path), _POST
        if handler is None:
            scope = tidied(scope)
            path = scope["path"]
            handler = self._posts.get(path)
            if path == HEALTH_GENERATE_PATH:
                handler, methods = health_generate, _GET
        if handler is None:
            await self._routes(_as_get(scope), receive, with_request_id(scope, send))
            return
        if scope["method"] not in methods:
            handler = _other_method(scope["method"], methods)
        elif self._drain.refusing:
            handler = _refuse
        exchange = Exchange(
            scope,
            receive,
            send,
            body_bytes_max=self._body_bytes_max,
            budget=self._bodies,
            timeout_s=self._request_timeout_s,
            now_unix_s=time.time(),
            ignored=Ignored(self._unknown_fields),
        )
        exchange.errors = ERROR_FORMS.get(path, OPENAI_ERRORS)
        began_at = self._now()
        self._drain.enter(exchange)
        self._answers.inflight.inc()
        try:
            error = await exchange.answer(partial(self._run, handler))
        finally:
            self._answers.inflight.dec()
            self._drain.leave(exchange)
        if exchange.ignored.names:
            self._ignored_log.note(exchange.ignored, path)
        model = self._known(exchange.model)
        self._answers.count(path, error, model=model if error else "", streams=exchange.streams)
        log_request(
            exchange.told_id,
            path,
            model,
            exchange.generation,
            error,
            began_at=began_at,
            ended_at=self._now(),
        )

    async def _run(self, handler: Handler, exchange: Exchange) -> None:
        await handler(exchange, self._runner)

    def _known(self, model: str) -> str:
        entry = self._registry.entry(model)
        return "" if entry is None else entry.served.card.name


def _as_get(scope: Scope) -> Scope:
    """HEAD as GET: the server, which reads its own scope, leaves out the body."""
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope


def _other_method(method: str, allowed: tuple[str, ...]) -> Handler:
    """What answers a method that the path does not take."""

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
