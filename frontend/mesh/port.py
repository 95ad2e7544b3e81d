"""The port that workers connect to: ZeroMQ's socket where there is a key, and one on the event loop
itself where there is none.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import zmq

from frontend.mesh.failed_handshakes import FailedHandshakes
from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey
from protocol.transport.door import Door
from protocol.transport.loop_router import LoopRouter
from protocol.transport.pump import OnFrames, Pump, SocketPump
from protocol.transport.sockets import IPC, Socket, bound_router, path_of, with_port

log = logging.getLogger(__name__)


class Port(Pump, Protocol):
    """A Port is bound at once, and carries messages from `open` on."""

    @property
    def address(self) -> str:
        """Returns where it is, with the port that it got where any free one was asked for."""
        ...

    def open(self, take: OnFrames, on_gone: Callable[[bytes], None]) -> Pump:
        """Returns itself, as OpenRouter says; to be called once."""
        ...

    async def deserted(self) -> None:
        """Returns when, after `close`, what was sent has left, as far as somebody reads it."""
        ...


def open_port(context: "zmq.Context[Socket]", address: str, key: MeshKey | None) -> Port:
    """Returns the port at an address.

    Raises:
        StartError: it is taken or malformed, or leaves this host and there is no key.
    """
    note = FailedHandshakes(time.monotonic).note
    try:
        if key is not None:
            return _KeyedPort(context, address, key, note)
        port = LoopRouter(address, on_failure=note)
    except (OSError, zmq.ZMQError) as error:
        raise StartError(
            f"cannot bind the mesh to {address}: {error.strerror or error}; another address is "
            "given by --mesh-bind"
        ) from None
    if not address.startswith(IPC) or path_of(address).startswith("\0"):
        log.warning(
            "any user of this host may join the mesh at %s: give it a key, or the ipc:// of a file",
            port.address,
        )
    return port


class _KeyedPort:
    def __init__(
        self,
        context: "zmq.Context[Socket]",
        address: str,
        key: MeshKey,
        note_failure: Callable[[int], None],
    ) -> None:
        self._socket = bound_router(context, address, key)
        self.address = address
        if not address.startswith(IPC):
            endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
            self.address = with_port(address, int(endpoint.rpartition(":")[2]))
        self._door = Door(context, self._socket, on_failure=note_failure)

    def open(self, take: OnFrames, on_gone: Callable[[bytes], None]) -> Pump:
        self._pump = SocketPump(self._socket, take, on_gone=on_gone, receive=self._door.receive)
        return self

    def send(self, frames: Sequence[bytes]) -> bool:
        return self._pump.send(frames)

    def close(self) -> None:
        self._door.close()
        self._pump.close()

    async def deserted(self) -> None:
        """Returns at once: ZeroMQ's context waits, as it ends."""
