"""Engines of a world reach each other, as workers/sim/handover has it, over connections of its own
network: what befalls those is between two workers alone.
"""

from collections import deque
from collections.abc import Callable, Sequence

from protocol.disaggregation import BootstrapServer
from protocol.transport.pump import OnFrames, Pump
from tests.simulation.loop import Process
from tests.simulation.network import Network
from tests.simulation.trace import Trace
from workers.sim.handover.messages import decode

USUAL_PORT = 8_998


class SimulatedMeetings:
    """The Meetings of one engine.

    Args:
        network: of engines; nothing is lost on it but with its connection, as on TCP.
        server: where the engine listens, if it computes prompts.
    """

    def __init__(self, network: Network, process: Process, server: BootstrapServer) -> None:
        self._network = network
        self._process = process
        self._server = server

    def listen(self, on_frames: OnFrames) -> tuple[Pump, BootstrapServer]:
        """As Meetings."""
        opened = self._network.router(address_of(self._server), self._process)
        return opened(on_frames, lambda _: None), self._server

    def dial(self, server: BootstrapServer, on_frames: OnFrames) -> Pump:
        """As Meetings."""
        return Patient(self._network, address_of(server), self._process, on_frames)

    def close(self) -> None:
        """Nothing is left open."""


class Patient:
    """A DEALER that keeps what is sent until it is connected, as ZMQ's does unless told not to."""

    def __init__(
        self, network: Network, address: str, process: Process, on_frames: OnFrames
    ) -> None:
        self._unsent: deque[Sequence[bytes]] = deque()
        self._pump = network.dealer(address, process)(on_frames, self._flush)

    def send(self, frames: Sequence[bytes]) -> bool:
        """There is always room."""
        self._unsent.append(frames)
        self._flush()
        return True

    def close(self) -> None:
        """What was not sent is not sent any more."""
        self._pump.close()

    def _flush(self) -> None:
        while self._unsent and self._pump.send(self._unsent[0]):
            self._unsent.popleft()


class SaidTrace(Trace):
    """The trace of a world, as a network beside that of the mesh tells it what is said there.

    Args:
        trace: takes it.
        told: says a message in one line.
    """

    def __init__(self, trace: Trace, told: Callable[[list[bytes]], str]) -> None:
        super().__init__()
        self._trace = trace
        self._told = told

    def message(self, now: float, lane: str, frames: list[bytes]) -> None:
        """As Trace."""
        self._trace.event(now, f"{lane} {self._told(frames)}")


def told(frames: list[bytes]) -> str:
    """What an engine says to another, in one line."""
    return str(decode(frames[-1]))


def address_of(server: BootstrapServer) -> str:
    """Its name on the network of engines."""
    return f"tcp://{server.host}:{server.port}"
