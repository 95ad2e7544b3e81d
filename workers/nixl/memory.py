"""A worker's registered memory, and the thread that NIXL is used in."""

import asyncio
import importlib.util
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVar

from workers.nixl.agent import Agent, NixlAgent, Reach
from workers.nixl.arena import Arena

log = logging.getLogger(__name__)

NixlUse = Literal["auto", "network", "off"]
"""Says what NIXL is used for: reads on this host, reads everywhere, none."""

REGISTERED_BYTES: Final = 256 * 1024 * 1024
"""Bounds what is on its way by NIXL in one worker: eight of the largest pictures of today's models
at once. What finds no room goes in frames. RDMA pins all of it, shared memory what was used.
"""

_PLACE_BYTES: Final = 12
_NETWORK: Final = "network"

ResultT = TypeVar("ResultT")


class Memory(Protocol):
    """A Memory is what of a worker others read, or what it reads into.

    Attributes:
        arena: of which spans are lent; for the loop alone.
        agent: reads; for `call` alone. None until it is made, and if it cannot be.
        place: names where one must be to read it; empty as long as there is no agent.
    """

    arena: Arena
    agent: Agent | None
    place: str

    async def call(self, what: Callable[[], ResultT]) -> ResultT:
        """Returns what a function returns in the agent's thread, or raises it."""
        ...

    def close(self) -> None:
        """Begins nothing more."""


class NixlMemory:
    """A NixlMemory is the Memory of a real worker. Its agent is made in its thread; until it is
    there nothing is read.
    """

    def __init__(self, reach: Reach, place: str, size_bytes: int = REGISTERED_BYTES) -> None:
        self.arena = Arena(size_bytes)
        self.agent: Agent | None = None
        self.place = ""
        self._thread = ThreadPoolExecutor(1, "nixl")
        self.opening = asyncio.get_running_loop().create_task(self._open(reach, place))

    async def call(self, what: Callable[[], ResultT]) -> ResultT:
        """Returns what a function returns in the agent's thread, as Memory says."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)

    def close(self) -> None:
        """Begins nothing more; what is being read goes on until the process ends."""
        self.place = ""
        self.opening.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _open(self, reach: Reach, place: str) -> None:
        try:
            self.agent = await self.call(lambda: NixlAgent(self.arena, reach))
        except Exception as error:  # noqa: BLE001 - whatever it is, encodings come in frames
            log.warning("encodings are not read from memory: NIXL has no agent: %s", error)
            return
        self.place = place
        log.info("encodings are read from memory with NIXL (%s)", reach)


def open_memory(use: NixlUse) -> Memory | None:
    """Opens this worker's memory for NIXL; None where it is not installed, or not wanted."""
    if use == "off" or importlib.util.find_spec("nixl") is None:
        return None
    if use == "network":
        return NixlMemory("network", _NETWORK)
    try:
        return NixlMemory("host", own_place())
    except OSError as error:  # no Linux
        log.debug("it cannot be told who may read this worker's memory: %s", error)
        return None


def own_place() -> str:
    """Returns what names the processes that can read each other's memory: those of one user, of one
    start of one host, that see each other's process ids and shared memory.

    Raises:
        OSError: the system does not tell.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    spaces = [Path(f"/proc/self/ns/{name}").readlink() for name in ("pid", "ipc", "user")]
    told = f"{boot} {spaces} {os.geteuid()}".encode()
    return blake2b(told, digest_size=_PLACE_BYTES).hexdigest()
