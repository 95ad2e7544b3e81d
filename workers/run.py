"""Composition root of a worker process: settings, engine, server, signals."""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Sequence

import uvloop

from protocol.curve import MeshKey
from protocol.errors import StartError
from protocol.packaging import require_own_packages
from protocol.settings import parse_known_settings, settings_help
from workers.addresses import AddressBook
from workers.engine import Engine
from workers.serve import WorkerServer
from workers.settings import WorkerSettings

EXIT_CANNOT_START = 3
"""Told apart from a crash, so that a supervisor does not try again."""

_PROG, _CONFIG_FLAG = "python -m workers", "--kvmesh-config"

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(argv: Sequence[str] | None = None) -> int:
    """Run a worker until SIGTERM or SIGINT."""
    argv = sys.argv[1:] if argv is None else argv
    settings, engine_argv = parse_known_settings(WorkerSettings, argv, prog=_PROG, config_flag=_CONFIG_FLAG, add_help=False)
    if {"-h", "--help"}.intersection(engine_argv):
        print(settings_help(WorkerSettings, prog=_PROG, config_flag=_CONFIG_FLAG), _engine_help(settings.engine), sep="\n")  # noqa: T201
        return 0
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname).1s %(name)s: %(message)s", stream=sys.stderr)
    try:
        require_own_packages()
        uvloop.run(_serve(settings, engine_argv))
    except StartError as error:
        print(f"kvmesh worker cannot start: {error}", file=sys.stderr)  # noqa: T201 - the one line for the person at the terminal
        return EXIT_CANNOT_START
    return 0


async def _serve(settings: WorkerSettings, engine_argv: Sequence[str]) -> None:
    # While the engine blocks this thread no handler of the loop could run; a signal ends the process there and then, and
    # the kernel ends the engine's children with it.
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    server = WorkerServer(
        _engine(settings.engine, engine_argv),
        worker_id=settings.worker_id or f"{socket.gethostname()}-{os.getpid()}",
        epoch=secrets.randbits(63),
        addresses=AddressBook(settings.frontend),
        endpoint=settings.endpoint or "dyn://kvmesh.backend.generate",
        key=MeshKey.from_file(settings.mesh_key_file),
    )
    await server.start(_model_named_in(engine_argv))
    stop = asyncio.Event()
    for number in _STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.serve(stop, drain_s_max=settings.graceful_shutdown_timeout_secs)


def _engine(kind: str, argv: Sequence[str]) -> Engine:
    if kind == "sim":
        from workers.sim.engine import SimEngine  # noqa: PLC0415

        return SimEngine.from_argv(argv)
    from workers.sglang_engine import SglangEngine  # noqa: PLC0415 - imports torch

    return SglangEngine.from_argv(argv)


def _engine_help(kind: str) -> str:
    if kind == "sim":
        from workers.sim.settings import help_text  # noqa: PLC0415

        return help_text()
    from workers.sglang_arguments import sglang_help  # noqa: PLC0415 - imports SGLang

    return sglang_help()


def _model_named_in(engine_argv: Sequence[str]) -> str:
    """What people will recognise while the engine has not told the model's name yet."""
    for flag in ("--served-model-name", "--model-path", "--model"):
        if flag in engine_argv[:-1]:
            return engine_argv[engine_argv.index(flag) + 1].rstrip("/").rpartition("/")[2]
    return ""
