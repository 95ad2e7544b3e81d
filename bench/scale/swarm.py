"""`python -m bench.scale.swarm COUNT ARGUMENTS`: so many simulated workers in one process, each
with connections of its own, so that a host of two cores has hundreds of them.
"""

import asyncio
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop

from protocol.process.one_line_logs import log_to_stderr
from protocol.process.open_files import raise_open_files
from protocol.process.settings import parse_known_settings
from workers.health.canary import read_canary_fields
from workers.health.rank_watch import HealthLimits
from workers.health.watched_engine import HealthSettings
from workers.kinds.arguments import Arguments
from workers.kinds.registry import kind_for
from workers.kv_events_config import KvEventsConfig
from workers.mesh.addresses import AddressBook
from workers.mesh.kv_plane import KvSettings
from workers.mesh.transport import ZmqTransport
from workers.process.departure import Departure, DrainLimits
from workers.server import WorkerServer
from workers.settings import WorkerSettings
from workers.system.board import Board
from workers.system.controls import Controls

STARTING_MAX: Final = 16
"""Workers that start at once: each has a thread then, which says that it loads."""


def with_sockets(arguments: Arguments, folder: Path, number: int) -> Arguments:
    """The arguments of one worker, whose engine publishes apart from the others of this process."""
    config = KvEventsConfig(
        publisher="zmq",
        endpoint=f"ipc://{folder}/{number}-events",
        bind=True,
        replay_endpoint=f"ipc://{folder}/{number}-replay",
        format="dynamo",
    )
    return arguments.adding("--kv-events-config", config.as_json())


async def serve(arguments: Arguments, number: int, starting: asyncio.Semaphore) -> None:
    """Lives the life of one worker, as workers.app has it, until the process ends."""
    settings, kind = arguments.settings, kind_for(arguments)
    board = Board(f"swarm-{number}", time.monotonic)
    departure = Departure(DrainLimits(timeout_s=0.0))
    server = WorkerServer(
        kind.engine(arguments),
        kind=kind,
        transport=ZmqTransport(arguments.key, time.monotonic),
        clock=time.monotonic,
        unix_ms=lambda: time.time() * 1000,
        worker_id=board.worker_id,
        epoch=secrets.randbits(63),
        addresses=AddressBook(settings.frontend),
        endpoint=settings.endpoint,
        kv=KvSettings(block_size_tokens=settings.kv_block_size, host=settings.kv_host, port=0),
        health=HealthSettings(
            enabled=settings.health_check_enabled,
            limits=HealthLimits(
                idle_silence_s=settings.canary_wait_time,
                answer_s=settings.health_check_request_timeout,
            ),
            canary=read_canary_fields(settings.health_check_payload),
        ),
        departure=departure,
        board=board,
        controls=Controls(),
    )
    async with starting:
        await server.start("")
    await server.serve()


async def swarm(arguments: Arguments, count: int) -> None:
    """Runs them all; one that fails ends all."""
    starting = asyncio.Semaphore(STARTING_MAX)
    with tempfile.TemporaryDirectory() as directory:
        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                own = with_sockets(arguments, Path(directory), number)
                tasks.create_task(serve(own, number, starting))


def main(argv: Sequence[str]) -> None:
    """Runs until it is killed: what frontends make of a worker's end is measured elsewhere."""
    settings, engine_argv = parse_known_settings(
        WorkerSettings,
        argv[1:],
        prog="python -m bench.scale.swarm",
        config_flag="--kvmesh-config",
        add_help=False,
    )
    log_to_stderr(settings.log_level, as_json=False)
    raise_open_files()
    uvloop.run(swarm(Arguments(settings, tuple(engine_argv)), int(argv[0])))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        os._exit(0)
