"""Makes a running ASGI application of a frontend's settings: the composition root."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from random import SystemRandom
from typing import TYPE_CHECKING, Final

import uvicorn
from starlette.types import ASGIApp

from frontend.api.application import Application
from frontend.api.launching import Launcher
from frontend.assembly import Assembly, Surroundings
from frontend.conforming.validator import Validator
from frontend.http.connections import Connections
from frontend.http.cors import with_cors
from frontend.http.exchange import Exchange
from frontend.http.guarded_protocol import GuardedHttpToolsProtocol
from frontend.http.listener import listen
from frontend.http.rebound_pages import without_rebound_pages
from frontend.http.request_id import new_request_id
from frontend.http.server import Server
from frontend.http.stream_keep_alive import keep_streams_alive
from frontend.media.hosts import MediaHosts
from frontend.media.reader import MediaReader
from frontend.mesh.port import open_port
from frontend.mesh.sockets import mesh_context
from frontend.models.files import FileCache
from frontend.models.loader import ModelLoader
from frontend.observe.loop_lag import LoopLag
from frontend.observe.media_metrics import MediaMetrics
from frontend.observe.metrics import FrontendMetrics
from frontend.observe.request_tally import HistogramBounds
from frontend.processes.place import Place
from frontend.processes.siblings import Siblings, models_ready, tell_loading
from frontend.readings import families_now
from frontend.routing.waiting_memory import WaitingMemory
from frontend.scrapes import read_at_scrapes
from frontend.settings import FrontendSettings
from frontend.status.board import Board
from frontend.text.tokenizing.segment_cache import SegmentCache
from kv_events.subscriber import KvSubscriber
from protocol.process.free_memory import FreeMemory
from protocol.process.gathered_lines import gather_lines
from protocol.process.large_blocks import return_large_blocks
from protocol.process.log_floods import quieten_http_server
from protocol.process.open_files import raise_open_files, too_few
from protocol.process.single_arena import share_one_arena
from protocol.process.tracing import open_spans
from protocol.siblings import sibling_address
from protocol.transport.curve import own_key

if TYPE_CHECKING:
    from protocol.process.spans import Spans

GC_THRESHOLDS: Final = (10_000, 5, 2)
"""Sets how many new objects there may be until young garbage is looked for, and how many such
searches until the next older generation is. With Python's 700 a queue of thousands that grows took
a quarter of the frontend's time. All generations are searched after 100,000 new objects, those of
some three hundred connections, so that what may lie about is some 10 MB.
"""

SWITCH_S: Final = 0.0005
"""Sets how long a thread that computes keeps the interpreter from the loop, which gives it up at
each call of a socket: with Python's 5 ms a request that needs it six times takes 30 ms longer while
the bodies of others are worked on.
"""

log = logging.getLogger(__name__)


async def serve(settings: FrontendSettings, place: Place | None = None) -> None:
    """Serves until SIGTERM or SIGINT and then until the drain is over (frontend/drain.py); a second
    signal hurries it.

    Args:
        place: of a process among several, whose parent has the signals; None if it is alone.
    Raises:
        StartError: a port is taken, the mesh address or key cannot be used, or spans cannot be
        sent.
    """
    told = settings.otel_export_enabled
    spans = open_spans(told, service="kvmesh-frontend", instance=_frontend_id())
    try:
        await _serve(settings, place, spans)
    finally:
        if spans is not None:
            await asyncio.to_thread(spans.close)


async def _serve(settings: FrontendSettings, place: Place | None, spans: "Spans | None") -> None:
    loop = asyncio.get_running_loop()
    open_files = raise_open_files()
    _tune_process()
    gather_lines(loop)
    listener = listen(settings.http_host, settings.http_port) if place is None else place.listener
    key = own_key(settings.mesh_key_file)
    context = mesh_context()
    mesh = sibling_address(settings.mesh_bind, 0 if place is None else place.number)
    port = open_port(context, mesh, key)
    metrics = FrontendMetrics(HistogramBounds.of(settings.layout), prefix=settings.metrics_prefix)
    subscriber = (
        KvSubscriber(context, key, on_lag=metrics.router.event_lag_seconds.observe)
        if settings.follows_kv_events
        else None
    )
    segments = SegmentCache(settings.tokenizer_cache_mb * 2**20)
    surroundings = Surroundings(
        frontend_id=_frontend_id(),
        open_router=port.open,
        prepare=ModelLoader(
            FileCache(settings.cache_dir),
            tokenizer_backend=settings.tokenizer_backend,
            segments=segments,
            new_query_id=new_request_id,
        ).prepare,
        subscriber=subscriber,
        memory=WaitingMemory(settings.queue_memory_mb * 2**20 // settings.frontend_processes),
        metrics=metrics,
        random=SystemRandom(),
        unix_s=time.time,
        new_request_id=new_request_id,
        siblings=0 if place is None else place.siblings_told,
        tell_loading=None if place is None else partial(tell_loading, place.link),
    )
    assembly = Assembly[Exchange](settings, surroundings, loop.time)
    lag = LoopLag()
    lag.start()
    read_at_scrapes(settings, surroundings, assembly, segments, lag)
    _heed_signals(lambda: assembly.drain.on_signal(loop.time()), place)
    log.info(
        "serving http://%s:%d, workers connect to %s%s",
        *listener.getsockname()[:2],
        port.address,
        too_few(open_files),
    )
    try:
        await _serve_http(settings, assembly, metrics, listener, place=place, spans=spans)
    finally:
        lag.close()
        await assembly.close()
        await port.deserted()
        if subscriber is not None:
            subscriber.close()
        if key is not None:
            key.close()
        context.term()


def _tune_process() -> None:
    return_large_blocks()
    share_one_arena()
    sys.setswitchinterval(SWITCH_S)
    quieten_http_server()


def _frontend_id() -> str:
    """Returns the name by which workers, and people, tell this frontend from others."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _heed_signals(on_signal: Callable[[], None], place: Place | None) -> None:
    if place is not None:
        place.link.heed(on_signal)
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)


def _media_reader(settings: FrontendSettings, metrics: MediaMetrics) -> MediaReader:
    hosts = MediaHosts(settings.media_url_hosts)
    if not hosts:
        return MediaReader(settings.media_bounds, note=metrics.note)
    from frontend.media.fetching import Fetcher  # noqa: PLC0415 - its client costs others nothing

    return MediaReader(settings.media_bounds, Fetcher(hosts, settings.media_bounds), metrics.note)


async def _serve_http(
    settings: FrontendSettings,
    assembly: Assembly[Exchange],
    metrics: FrontendMetrics,
    listener: socket.socket,
    *,
    place: Place | None,
    spans: "Spans | None",
) -> None:
    """Answers clients until the drain is over."""
    drain = assembly.drain
    validator = Validator()
    runner = Launcher(
        assembly.dispatch,
        assembly.recovery,
        validator,
        _media_reader(settings, metrics.media),
        assembly.outputs,
        jobs=assembly.jobs,
        weights=settings.router_weights,
        note_made=metrics.outputs.note,
    )
    board = None
    if settings.status_page:
        board = Board(assembly.registry, metrics.recent, _frontend_id(), lambda: drain.begun)
        drain.on_begin = board.feed.close
    connections = Connections(on_slow_reader=metrics.answers.slow_readers.inc)
    siblings = accepting = None
    if place is not None:
        families = partial(families_now, metrics, assembly.registry, drain)
        siblings = Siblings(
            place.link, assembly.registry, families=families, exchanges=lambda: drain.open
        )
        siblings.share_poison(assembly.recovery.poison)
        siblings.share_sessions(assembly.router.sessions)
        if board is not None:
            siblings.share_status(board)
        accepting = place.accepting(partial(models_ready, assembly.registry))
        connections.on_gone = accepting.note_gone
        assembly.registry.on_served = accepting.note_models
    application = Application(
        assembly.registry,
        runner,
        metrics,
        settings,
        drain,
        board=board,
        siblings=siblings,
        spans=spans,
    )
    server = Server(_http(application, settings, listener), drain, connections, accepting)
    tasks = [
        asyncio.create_task(keep_streams_alive(lambda: drain.open, settings.sse_keep_alive)),
        asyncio.create_task(FreeMemory().keep_returning()),
        *([asyncio.create_task(board.keep())] if board else []),
    ]
    gc.set_threshold(*GC_THRESHOLDS)
    # what was imported stays: a full collection need not look through it while requests wait
    gc.freeze()
    gc.enable()
    if place is not None:
        place.link.serving()
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
        await validator.close()


def _http(
    application: ASGIApp, settings: FrontendSettings, listener: socket.socket
) -> uvicorn.Config:
    this_host_only = ip_address(listener.getsockname()[0]).is_loopback
    return uvicorn.Config(
        without_rebound_pages(
            with_cors(application, settings.cors_origin),
            settings.cors_origin,
            this_host_only=this_host_only,
        ),
        http=GuardedHttpToolsProtocol,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.http_keep_alive,
    )
