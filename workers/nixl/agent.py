"""The only file that knows NIXL: an agent reads out of the memory of other workers' agents."""

import importlib
import logging
import os
import uuid
from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from workers.nixl.arena import Arena, Span

log = logging.getLogger(__name__)

Reach = Literal["host", "network"]
"""Says how far an agent reads: on its host, by what processes there share, or wherever UCX gets."""

PEERS_MAX: Final = 64
"""Bounds the agents that one reads from at a time, as the workers that one fetches from."""

_GPU_DRIVER: Final = Path("/dev/nvidiactl")

_UCX: Final[Mapping[Reach, tuple[str, Mapping[str, str]]]] = {
    # Of these the kernel tells who may use them. Without the errors of peers, which need TCP: UCX
    # would listen on a port and let anybody write anywhere in this process's memory.
    # NIXL refuses to start beside a GPU where UCX could not copy from it.
    "host": (
        "none",
        {"UCX_TLS": "cma,posix,sysv,self" + (",cuda_copy" if _GPU_DRIVER.exists() else "")},
    ),
    "network": ("peer", {}),
}
"""Maps a reach to how NIXL's backend takes errors, and the variables that say what UCX uses."""


class ReadFailed(Exception):
    """A ReadFailed says that nothing more of a read will arrive."""


class Transfer(Protocol):
    """A Transfer is one read that was begun; used in the agent's thread."""

    def done(self) -> bool:
        """Tells whether all has arrived; until then its span is being written.

        Raises:
            ReadFailed: it never will, and the span is written no more.
        """
        ...


class Agent(Protocol):
    """An Agent reads into an arena, and has it read; used in one thread.

    Attributes:
        told: what others must know of it to read.
    """

    told: bytes

    def read(self, peer: bytes, address: int, into: Span) -> Transfer:
        """Begins to read another agent's memory, as much as the span has room for.

        Raises:
            ReadFailed: it cannot be reached.
        """
        ...

    def go_on(self) -> None:
        """Lets others get on who read here: called every few milliseconds as long as some do."""


@dataclass(slots=True)
class _Peer:
    name: str
    reads: int = 0


class NixlAgent:
    """A NixlAgent is the Agent of a real worker. It costs no time of a CPU while nobody reads.

    Raises:
        Exception: whatever NIXL has to say when it cannot.
    """

    def __init__(self, arena: Arena, reach: Reach) -> None:
        api: Any = importlib.import_module("nixl._api")
        logging.getLogger("nixl").setLevel(logging.WARNING)
        errors, variables = _UCX[reach]
        self._arena = arena
        with _environment(variables):
            # Its thread would take half a CPU all the time; go_on does what it is for.
            config = api.nixl_agent_config(enable_prog_thread=False, backends=[])
            self._nixl = api.nixl_agent(f"kvmesh-{uuid.uuid4()}", config)
            self._nixl.create_backend("UCX", {"ucx_error_handling_mode": errors})
        self._nixl.register_memory([(arena.address, arena.size_bytes, 0, "")], "DRAM")
        self.told: bytes = self._nixl.get_agent_metadata()
        self._peers: OrderedDict[bytes, _Peer] = OrderedDict()

    def read(self, peer: bytes, address: int, into: Span) -> Transfer:
        """Begins to read, as Agent says. What processes share is read here and now."""
        known = self._known(peer)
        local = [(self._arena.address_of(into), into.size_bytes, 0)]
        remote = [(address, into.size_bytes, 0)]
        nixl = self._nixl
        try:
            handle = nixl.initialize_xfer(
                "READ",
                nixl.get_xfer_descs(local, "DRAM"),
                nixl.get_xfer_descs(remote, "DRAM"),
                known.name,
            )
            state = nixl.transfer(handle)
        except Exception as error:
            self._forget(peer)
            raise ReadFailed(str(error)) from error
        known.reads += 1
        return _NixlTransfer(self, peer, known, handle, state)

    def go_on(self) -> None:
        """Lets others get on, as Agent says."""
        self._nixl.get_new_notifs()

    def state_of(self, handle: Any) -> str:
        """Returns DONE, PROC or ERR; what NIXL raises is an ERR."""
        try:
            return self._nixl.check_xfer_state(handle)
        except Exception as error:  # noqa: BLE001 - its own classes, with no ancestor of theirs
            log.debug("a read failed: %s", error)
            return "ERR"

    def end(self, peer: bytes, known: _Peer, handle: Any, *, failed: bool) -> None:
        """Lets go of a read that has ended; after a failure the connection is made anew."""
        known.reads -= 1
        try:
            handle.release()
        except Exception as error:  # noqa: BLE001 - as above
            log.debug("a read that ended is not let go: %s", error)
        if failed:
            self._forget(peer)

    def _known(self, peer: bytes) -> _Peer:
        known = self._peers.get(peer)
        if known is None:
            try:
                name = self._nixl.add_remote_agent(peer)
            except Exception as error:
                raise ReadFailed(str(error)) from error
            known = self._peers[peer] = _Peer(name.decode() if isinstance(name, bytes) else name)
        self._peers.move_to_end(peer)
        if len(self._peers) > PEERS_MAX:
            idle = next((each for each, other in self._peers.items() if not other.reads), None)
            if idle is not None and idle != peer:
                self._forget(idle)
        return known

    def _forget(self, peer: bytes) -> None:
        known = self._peers.get(peer)
        if known is None or known.reads:
            return  # the last one to end forgets it
        del self._peers[peer]
        try:
            self._nixl.remove_remote_agent(known.name)
        except Exception as error:  # noqa: BLE001 - as above
            log.debug("an agent is not forgotten: %s", error)


class _NixlTransfer:
    def __init__(
        self, agent: NixlAgent, peer: bytes, known: _Peer, handle: Any, state: str
    ) -> None:
        self._agent = agent
        self._of = (peer, known, handle)
        self._state = state

    def done(self) -> bool:
        if self._state == "PROC":
            self._state = self._agent.state_of(self._of[2])
            if self._state == "PROC":
                return False
        ended, self._state = self._state, "ENDED"
        if ended != "ENDED":
            self._agent.end(*self._of, failed=ended != "DONE")
        if ended != "DONE":
            raise ReadFailed("the other worker was lost, or its memory cannot be read")
        return True


@contextmanager
def _environment(variables: Mapping[str, str]) -> Generator[None]:
    """Sets variables of this process for a moment: whatever it starts later has UCX as it is."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
