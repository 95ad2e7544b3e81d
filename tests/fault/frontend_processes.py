"""A frontend of two processes, what the kernel knows of them, and streams held in each."""

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from starter.addresses import Addresses
from starter.process import Process
from tests.fault.raw_http import asked, connected
from tests.kit.fleet import Fleet

PROCESSES: Final = 2

_ESTABLISHED: Final = "01"

MINUTES: Final = {"model": "demo", "prompt": "hi", "max_tokens": 8_000, "stream": True}
SOME_SECONDS: Final = MINUTES | {"max_tokens": 300}


def fleet_of_two(directory: Path) -> Fleet:
    """A fleet whose mesh is a file, beside which another one can be."""
    return Fleet(directory, Addresses(mesh=f"ipc://{directory}/mesh"))


def start_two(fleet: Fleet, *options: str) -> Process:
    """A frontend of two processes, with a worker that takes its time and has found both."""
    frontend = fleet.frontend("--frontend-processes", str(PROCESSES), *options)
    worker = fleet.worker(
        *("--served-model-name", "demo", "--sim-speedup", "1", "--context-length", "16384")
    )
    found_by(fleet, worker, PROCESSES)
    return frontend


def found_by(fleet: Fleet, worker: Process, times: int) -> None:
    """Wait until a worker was taken in so many times."""
    fleet.wait_until(
        lambda: worker.output().count(" accepted us") >= times, f"{times} processes took it in"
    )


def children_of(frontend: Process) -> list[int]:
    """The ids of the processes of a frontend, in the order of their starts."""
    path = Path(f"/proc/{frontend.pid}/task/{frontend.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def connections_of(fleet: Fleet, pid: int) -> int:
    """How many connections of clients a process has."""
    at_port = f":{fleet.http_port:04X}"
    inodes: set[str] = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *rest = line.split()
        if local.endswith(at_port) and state == _ESTABLISHED:
            inodes.add(f"socket:[{rest[5]}]")
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found += str(entry.readlink()) in inodes
    return found


def begun(fleet: Fleet, body: dict[str, object]) -> socket.socket:
    """A stream that has begun, and whose end closes its connection."""
    stream = asked(fleet, body, "connection: close")
    assert stream.recv(10)
    return stream


def begun_in_each(fleet: Fleet, frontend: Process, body: dict[str, object]) -> list[socket.socket]:
    """Streams that have begun, of which each process has one at least."""
    return _in_each(fleet, frontend, lambda: begun(fleet, body))


def connected_to_each(fleet: Fleet, frontend: Process) -> list[socket.socket]:
    """Connections on which nothing was asked yet, of which each process has one at least."""
    return _in_each(fleet, frontend, lambda: connected(fleet))


def _in_each(
    fleet: Fleet, frontend: Process, connect: Callable[[], socket.socket]
) -> list[socket.socket]:
    connections: list[socket.socket] = []

    def each_has_one() -> bool:
        connections.append(connect())
        return all(connections_of(fleet, pid) for pid in children_of(frontend))

    fleet.wait_until(each_has_one, "each process has a connection")
    return connections
