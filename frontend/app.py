"""Composition root of a frontend: settings in, a running ASGI application out."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from random import SystemRandom
from types import FrameType

import uvicorn
import zmq

from frontend.api.asgi import Receive, Scope, Send
from frontend.api.body_budget import BodyBudget
from frontend.api.chat import chat_completions
from frontend.api.completions import completions
from frontend.api.exchange import Exchange
from frontend.api.request_id import new_request_id, with_request_id
from frontend.api.routes import build_routes
from frontend.api.running import Runner
from frontend.http.guarded_protocol import GuardedHttpToolsProtocol
from frontend.mesh.files import FileCache
from frontend.mesh.mesh import Mesh
from frontend.models import ModelLoader
from frontend.observe.metrics import FrontendMetrics
from frontend.observe.router_readings import router_readings
from frontend.recovery import Recovery
from frontend.routing.admission import AdmissionQueue
from frontend.routing.modes import policy_of
from frontend.routing.router import Lifetimes, Router
from frontend.settings import FrontendSettings
from kv_events.index import BlockBudget
from kv_events.subscriber import KvSubscriber
from protocol.curve import MeshKey
from protocol.errors import MethodNotAllowed, StartError
from protocol.sockets import Socket, SocketPump, bound_router

log = logging.getLogger(__name__)

Handler = Callable[[Exchange, Runner], Awaitable[None]]

HOT_PATHS: dict[str, Handler] = {"/v1/chat/completions": chat_completions, "/v1/completions": completions}

BACKLOG_CONNECTIONS = 2_048
"""Connections the kernel holds while the loop is busy."""


class Application:
    """The ASGI callable: hot paths straight to their handlers, everything else to FastAPI."""

    def __init__(self, mesh: Mesh, runner: Runner, metrics: FrontendMetrics, settings: FrontendSettings) -> None:
        self._runner = runner
        self._metrics = metrics
        self._bodies = BodyBudget()
        self._body_bytes_max = settings.body_limit_mb * 1_000_000
        self._request_timeout_s = settings.request_timeout
        self._routes = build_routes(mesh, metrics, hot_paths=HOT_PATHS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        handler = HOT_PATHS.get(path)
        if handler is None:
            await self._routes(scope, receive, with_request_id(scope, send))
            return
        if scope["method"] != "POST":
            handler = _only_post
        exchange = Exchange(scope, receive, send, body_bytes_max=self._body_bytes_max, budget=self._bodies)
        metrics = self._metrics
        metrics.inflight_requests.inc()
        try:
            error = await exchange.answer(partial(self._run, handler), deadline_s=self._request_timeout_s)
        finally:
            metrics.inflight_requests.dec()
        metrics.requests.labels(path, "error" if error else "success", error.code if error else "").inc()

    async def _run(self, handler: Handler, exchange: Exchange) -> None:
        await handler(exchange, self._runner)


async def _only_post(exchange: Exchange, runner: Runner) -> None:  # noqa: ARG001 - a Handler
    raise MethodNotAllowed("Only POST is allowed here.")


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process before the mesh is closed."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """The first signal lets open requests finish; a second one of either kind ends them (uvicorn's own: SIGINT alone)."""
        self.force_exit = self.should_exit
        self.should_exit = True


async def serve(settings: FrontendSettings) -> None:
    """Serve until SIGTERM or SIGINT; open requests get the graceful-shutdown time to finish, a second signal ends them.

    Raises:
        StartError: a port is taken, or the mesh address or key cannot be used.
    """
    listener = _listen(settings.http_host, settings.http_port)
    key = MeshKey.from_file(settings.mesh_key_file)
    context: zmq.Context[Socket] = zmq.Context()
    try:
        router = bound_router(context, settings.mesh_bind, key)
    except zmq.ZMQError as error:
        raise StartError(f"cannot bind the mesh to {settings.mesh_bind}: {error}") from None
    metrics = FrontendMetrics()
    budget = BlockBudget(settings.kv_index_blocks_max)
    subscriber = KvSubscriber(context, key, on_lag=metrics.router.event_lag_seconds.observe) if settings.follows_kv_events else None
    loader = ModelLoader(FileCache(settings.cache_dir), tokenizer_backend=settings.tokenizer_backend)
    mesh = Mesh(
        lambda on_frames, on_gone: SocketPump(router, on_frames, on_gone=on_gone),
        frontend_id=f"{socket.gethostname()}-{os.getpid()}",
        prepare=loader.prepare,
        router=_router(settings),
        subscriber=subscriber,
        budget=budget,
        new_queue=partial(AdmissionQueue, requests_waiting_max=settings.queue_size, wait_s_max=settings.queue_timeout),
        metrics=metrics,
    )
    metrics.router.also_read(partial(router_readings, mesh.registry, budget, subscriber))
    recovery = Recovery(
        mesh, metrics.losses, moves_max=settings.migration_limit, new_request_id=new_request_id, now=asyncio.get_running_loop().time
    )
    runner = Runner(mesh, recovery, request_timeout_s=settings.request_timeout, weights=settings.router_weights)
    server = Server(
        uvicorn.Config(
            Application(mesh, runner, metrics, settings),
            http=GuardedHttpToolsProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=settings.http_graceful_shutdown_timeout_secs,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
    log.info("serving http://%s:%d, workers connect to %s", *listener.getsockname()[:2], settings.mesh_bind)
    try:
        await server.serve(sockets=[listener])
    finally:
        await mesh.close()
        if subscriber is not None:
            subscriber.close()
        if key is not None:
            key.close()
        context.term()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG_CONNECTIONS)
    except OSError as error:
        raise StartError(f"cannot serve HTTP on {host}:{port}: {error.strerror or error}") from None


def _router(settings: FrontendSettings) -> Router:
    lifetimes = Lifetimes(
        predicted_s=settings.router_predicted_ttl_secs,
        assumed_s=settings.router_ttl_secs,
        session_s=settings.router_session_affinity_ttl_secs,
    )
    return Router(settings.router_mode, policy_of(settings.router_mode, settings.router_weights, SystemRandom()), lifetimes)
