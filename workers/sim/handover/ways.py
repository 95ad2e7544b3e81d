"""By which ways simulated engines reach each other."""

from collections.abc import Callable
from typing import Final, Protocol

import zmq

from protocol.disaggregation import BootstrapServer
from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey
from protocol.transport.pump import OnFrames, Pump, SocketPump
from protocol.transport.sockets import Socket, asking_dealer, bound_router
from workers.sim.handover.messages import Said, decode, encode

PEERS_MAX: Final = 256
"""An engine that generates is connected to this many that compute at most, the last ones it met:
more than a fleet has for one that generates.
"""


class Meetings(Protocol):
    """Meetings are the ways by which simulated engines reach each other."""

    def listen(self, on_frames: OnFrames) -> tuple[Pump, BootstrapServer]:
        """Returns a way that others may come by, and where they find it.

        Raises:
            StartError: the port is taken.
        """
        ...

    def dial(self, server: BootstrapServer, on_frames: OnFrames) -> Pump:
        """Returns the way to an engine that listens."""
        ...

    def close(self) -> None:
        """Gives back what all ways share; each must be closed before. It waits for a thread to end,
        so it is no call for a loop that serves.
        """


class SocketMeetings:
    """SocketMeetings are ways over ZMQ: one ROUTER where prompts are computed.

    Args:
        host, port: where it listens; port 0 for any free one.
        key: the mesh's, needed where others come from other hosts; for these ways alone, which
        close it.
    """

    def __init__(self, host: str, port: int, key: MeshKey | None = None) -> None:
        self._host = host
        self._port = port
        self._key = key
        self._context: zmq.Context[Socket] = zmq.Context()

    def listen(self, on_frames: OnFrames) -> tuple[Pump, BootstrapServer]:
        """As Meetings."""
        address = f"tcp://{self._host}:{self._port or '*'}"
        try:
            socket = bound_router(self._context, address, self._key)
        except StartError:
            self.close()
            raise
        except zmq.ZMQError as error:
            self.close()
            raise StartError(f"--disaggregation-bootstrap-port: {address}: {error}") from None
        port = int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        return SocketPump(socket, on_frames), BootstrapServer(self._host, port)

    def dial(self, server: BootstrapServer, on_frames: OnFrames) -> Pump:
        """As Meetings."""
        address = f"tcp://{server.host}:{server.port}"
        return SocketPump(asking_dealer(self._context, address, self._key), on_frames)

    def close(self) -> None:
        """As Meetings."""
        if self._key is not None:
            self._key.close()
        self._context.destroy(linger=0)


class Listener:
    """A Listener is the side of the engine that computes prompts.

    Args:
        on_said: told of each message, with who says it.
    """

    def __init__(self, meetings: Meetings, on_said: Callable[[bytes, Said], None]) -> None:
        self._on_said = on_said
        self._pump, self.server = meetings.listen(self._on_frames)

    def say(self, peer: bytes, message: Said) -> None:
        """Sends a message to a peer, if it is still there."""
        self._pump.send([peer, encode(message)])

    def close(self) -> None:
        """Closes the way."""
        self._pump.close()

    def _on_frames(self, frames: list[bytes]) -> None:
        peer, content = frames
        self._on_said(peer, decode(content))


class Callers:
    """Callers are the side of the engine that generates: a way to each peer that it met.

    Args:
        on_said: told of each message.
    """

    def __init__(self, meetings: Meetings, on_said: Callable[[Said], None]) -> None:
        self._meetings = meetings
        self._on_said = on_said
        self._pumps: dict[tuple[str, int], Pump] = {}

    def say(self, server: BootstrapServer, message: Said) -> None:
        """Sends a message to the peer that listens there."""
        key = server.host, server.port
        pump = self._pumps.pop(key, None) or self._meetings.dial(
            server, lambda frames: self._on_said(decode(frames[0]))
        )
        self._pumps[key] = pump
        if len(self._pumps) > PEERS_MAX:
            self._pumps.pop(next(iter(self._pumps))).close()
        pump.send([encode(message)])

    def close(self) -> None:
        """Closes all ways."""
        for pump in self._pumps.values():
            pump.close()
        self._pumps.clear()
