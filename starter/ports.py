"""Free TCP ports that the tests and benchmarks of a host do not take from each other.

Whoever binds a port does so long after it was chosen, so being free now is not enough, not even by
the kernel's choice: workers let it choose the ports of their KV events. So each range is held by a
lock on a file for as long as the process lives. Another program may still take a port meanwhile;
what wants it then fails to start and says so.
"""

import fcntl
import os
import socket
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from random import SystemRandom
from typing import Final

FIRST_PORT: Final = 20_000
LAST_PORT: Final = 32_000
"""Below the ports that Linux gives to outgoing connections (32768 and up)."""

SLOT_PORTS: Final = 16
"""Ports behind one lock: as many as SGLang's nodes take behind the one where they meet, and
more.
"""

_TRIES_MAX: Final = 200
"""Of 750 slots; a host where so many are taken has other troubles."""

_handed_out: list[int] = []
"""Reserved one slot at a time; the rest of the latest."""


class NoPorts(RuntimeError):
    """There are too few free ports, or their locks cannot be had."""


def free_port() -> int:
    """A TCP port that was free a moment ago and that nobody else is given while this process lives.

    Raises:
        NoPorts: none was found.
    """
    if not _handed_out:
        first = reserve_ports(SLOT_PORTS)
        _handed_out.extend(range(first, first + SLOT_PORTS))
    return _handed_out.pop()


def reserve_ports(count: int) -> int:
    """The first of `count` free ports in a row, reserved until this process ends.

    Raises:
        NoPorts: none were found.
    """
    slots = -(-count // SLOT_PORTS)
    starts = range(FIRST_PORT, LAST_PORT - slots * SLOT_PORTS + 1, SLOT_PORTS)
    for start in SystemRandom().sample(starts, min(_TRIES_MAX, len(starts))):
        with ExitStack() as locks:
            if _lock([start + slot * SLOT_PORTS for slot in range(slots)], locks) and all(
                _is_free(port) for port in range(start, start + count)
            ):
                locks.pop_all()  # left open: the kernel releases them with the process
                return start
    raise NoPorts(f"found no {count} free ports in a row between {FIRST_PORT} and {LAST_PORT}")


def _lock(starts: list[int], locks: ExitStack) -> bool:
    """Lock every slot, as long as `locks` is not closed; false where somebody else has one."""
    directory = Path(tempfile.gettempdir()) / f"kvmesh-ports-{os.getuid()}"
    for start in starts:
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(
                directory / str(start), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise NoPorts(f"cannot reserve ports in {directory}: {error.strerror}") from None
        locks.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False
