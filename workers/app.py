"""A worker process is put together here from its settings, engine, server and signals."""

import asyncio
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import uvloop

from protocol.process.one_line_logs import log_to_stderr
from protocol.process.open_files import raise_open_files
from protocol.process.packaging import require_own_packages
from protocol.process.settings import parse_known_settings, settings_help
from protocol.process.start_error import EXIT_CANNOT_START, StartError
from protocol.process.tracing import open_spans
from protocol.transport.curve import MeshKey, own_key
from protocol.transport.sockets import is_local, require_key
from workers.config_section import read_section
from workers.engine import Engine
from workers.health.canary import read_canary_fields
from workers.health.rank_watch import HealthLimits
from workers.health.watched_engine import HealthSettings
from workers.kinds.arguments import Arguments
from workers.kinds.demo import with_demo
from workers.kinds.registry import kind_for
from workers.mesh.addresses import AddressBook
from workers.mesh.kv_plane import KvSettings
from workers.mesh.transport import ZmqTransport
from workers.observe.leg_spans import LegSpans
from workers.process.departure import STOP_SIGNALS, Departure, DrainLimits
from workers.server import WorkerServer
from workers.settings import WorkerSettings
from workers.system.access import read_token
from workers.system.board import Board
from workers.system.controls import Controls
from workers.system.pages import SystemPages
from workers.system.server import SystemServer

_PROG, _CONFIG_FLAG = "python -m workers", "--kvmesh-config"

_CHAT_TEMPLATE = "--chat-template"
"""SGLang and the simulated engine both take a chat template by this flag."""


def run(argv: Sequence[str] | None = None) -> int:
    """Runs a worker until SIGTERM or SIGINT or until its engine dies; returns the exit code."""
    failures: BaseExceptionGroup[StartError]
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except* StartError as group:  # alone, or out of a TaskGroup
        failures = group
    print(f"kvmesh worker cannot start: {_first(failures)}", file=sys.stderr)  # noqa: T201 - the one line for the person at the terminal
    return EXIT_CANNOT_START


def _run(argv: Sequence[str]) -> int:
    settings, engine_argv = parse_known_settings(
        WorkerSettings, argv, prog=_PROG, config_flag=_CONFIG_FLAG, add_help=False
    )
    if {"-h", "--help"}.intersection(engine_argv):
        own = settings_help(WorkerSettings, prog=_PROG, config_flag=_CONFIG_FLAG)
        arguments = Arguments(settings, tuple(engine_argv))
        print(own, kind_for(arguments).help_text(arguments), sep="\n")  # noqa: T201
        return 0
    log_to_stderr(settings.log_level, as_json=settings.log_json)
    require_own_packages()
    raise_open_files()
    # While the engine blocks this thread no handler of the loop could run; a signal ends the
    # process there and then, and the kernel ends the engine's children with it.
    for number in STOP_SIGNALS:
        signal.signal(number, _end_now if os.getpid() == 1 else signal.SIG_DFL)
    health, addresses = _health_settings(settings), AddressBook(settings.frontend)
    key = own_key(settings.mesh_key_file)
    for address in settings.frontend:
        require_key(address, key)  # now, and not when an engine has been loading for ten minutes
    arguments = _arguments(settings, engine_argv, key)
    kind = kind_for(arguments)
    # before the system server, which is a thread
    engine = kind.engine(arguments) if kind.forks(arguments) else None
    board = Board(settings.worker_id or _default_worker_id(arguments), time.monotonic)
    controls = Controls()
    spans = open_spans(
        settings.otel_export_enabled, service="kvmesh-worker", instance=board.worker_id
    )
    if spans is not None:
        board.spans = LegSpans(spans, board.worker_id)
    system = _system_server(settings, board, controls)
    try:
        return uvloop.run(_serve(arguments, engine, addresses, health, board, controls))
    finally:
        if spans is not None:
            spans.close()
        if system is not None:
            system.stop()


def _end_now(number: int, _frame: object) -> None:
    """Ends the process at once with the exit code of the signal's number. It stands in place of
    SIG_DFL for the first process of a container, which the kernel spares those signals that it has
    no handler for.
    """
    os._exit(128 + number)


async def _serve(  # noqa: PLR0917
    arguments: Arguments,
    engine: Engine | None,
    addresses: AddressBook,
    health: HealthSettings,
    board: Board,
    controls: Controls,
) -> int:
    """Serves until the worker departs.

    Args:
        engine: the worker's; None where it is to be made here.
    """
    settings, kind = arguments.settings, kind_for(arguments)
    departure = Departure(
        DrainLimits(
            timeout_s=settings.graceful_shutdown_timeout_secs,
            grace_s=settings.graceful_shutdown_grace_period_secs,
        )
    )
    engine = engine or kind.engine(arguments)
    transport = ZmqTransport(arguments.key, time.monotonic, settings.encodings_nixl)
    try:
        server = WorkerServer(
            engine,
            kind=kind,
            transport=transport,
            clock=time.monotonic,
            unix_ms=lambda: time.time() * 1000,
            worker_id=board.worker_id,
            epoch=secrets.randbits(63),
            addresses=addresses,
            endpoint=settings.endpoint,
            kv=KvSettings(
                block_size_tokens=settings.kv_block_size,
                host=settings.kv_host,
                port=settings.kv_port,
                encodings_port=settings.encodings_port,
            ),
            health=health,
            departure=departure,
            board=board,
            controls=controls,
        )
        await server.start(_model_named_in(arguments))
    except BaseException:
        transport.abandon()
        raise
    departure.listen(asyncio.get_running_loop())
    await server.serve()
    return departure.exit_code


def _health_settings(settings: WorkerSettings) -> HealthSettings:
    return HealthSettings(
        enabled=settings.health_check_enabled,
        limits=HealthLimits(
            idle_silence_s=settings.canary_wait_time, answer_s=settings.health_check_request_timeout
        ),
        canary=read_canary_fields(settings.health_check_payload),
    )


def _system_server(
    settings: WorkerSettings, board: Board, controls: Controls
) -> SystemServer | None:
    """Returns the server of the system pages, running already, so that it can tell that the engine
    is loading; None where it is not wanted.
    """
    if settings.system_port < 0:
        return None
    pages = SystemPages(
        board,
        controls,
        token=read_token(settings.system_token_file),
        live_path=settings.system_live_path,
        health_path=settings.system_health_path,
        this_host_only=is_local(
            f"tcp://[{settings.system_host}]:0"
            if ":" in settings.system_host
            else f"tcp://{settings.system_host}:0"
        ),
    )
    server = SystemServer(pages, host=settings.system_host, port=settings.system_port)
    server.start()
    return server


def _default_worker_id(arguments: Arguments) -> str:
    """Makes a worker's name from its host, its process and something random, since containers may
    share a host name and a process id.

    The nodes of one engine all find the same name: that of the address where they meet.
    """
    address = arguments.told("--dist-init-addr", "--nccl-init-addr")
    if address and arguments.told("--nnodes") not in ("", "1"):
        return f"engine-{address}"
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def _arguments(
    settings: WorkerSettings, engine_argv: Sequence[str], key: MeshKey | None
) -> Arguments:
    arguments, template = Arguments(settings, tuple(engine_argv), key), settings.chat_template()
    if settings.disagg_config and settings.disagg_config_key:
        section = read_section(settings.disagg_config, settings.disagg_config_key)
        arguments = replace(arguments, section=section)
    if template is not None:
        arguments = arguments.adding(_CHAT_TEMPLATE, str(template))
    return with_demo(arguments)


def _model_named_in(arguments: Arguments) -> str:
    """Returns what people will recognise while the engine has not told the model's name yet."""
    path = arguments.told("--model-path", "--model")
    return arguments.told("--served-model-name") or path.rstrip("/").rpartition("/")[2]


def _first(group: BaseExceptionGroup[StartError]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
