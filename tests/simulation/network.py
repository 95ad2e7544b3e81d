"""ROUTER and DEALER in memory, with everything that befalls connections: delays, losses,
repetitions, full queues, breaks.

As ZMQ has it: a DEALER connects and reconnects by itself and can send only while it is connected; a
ROUTER knows a connection by an identity of its own, drawn anew at each; what is under way on a
connection that breaks is lost, and nobody is told but by the next send.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from random import Random
from typing import Final

from protocol.transport.pump import OnFrames, OpenDealer, OpenRouter, Pump
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.trace import Trace

HEARTBEAT_TIMEOUT_S: Final = 3.0
"""ZMQ breaks a connection that is silent for so long (protocol.transport.sockets)."""

_RECONNECT_S: Final = (0.1, 0.4)

_ONE_BY_ONE_S: Final = 1e-7
"""Between messages of one direction: timers of one moment have no order."""


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What befalls messages. Shares are of 1.

    Attributes:
        delay_s: least and most of one way.
        late: further delay, at most, of a message that others may overtake.
        queue: messages that fit into a connection, each way.
    """

    delay_s: tuple[float, float] = (0.0005, 0.003)
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    late_s: float = 0.05
    queue: int = 10_000


class Network:
    """Everything that connects processes of one world."""

    def __init__(self, loop: VirtualLoop, random: Random, trace: Trace, weather: "Weather") -> None:
        self.loop = loop
        self.random = random
        self.trace = trace
        self.weather = weather
        self.routers: dict[str, _Router] = {}
        self.aliases: dict[str, str] = {}
        """Further addresses of routers."""
        self.dialling: Counter[Process] = Counter()
        """DEALERs that each process has open."""
        self._connections: list[_Connection] = []
        self._apart_until: dict[tuple[str, str], float] = {}
        self._identities = 0
        self._context = copy_context()

    def at(self, when: float, call: Callable[..., None], *args: object) -> None:
        """Call back whatever becomes of the process that asks."""
        self.loop.call_at(when, call, *args, context=self._context)

    def router(self, address: str, process: Process) -> OpenRouter:
        """Bind."""

        def opened(on_frames: OnFrames, on_gone: Callable[[bytes], None]) -> Pump:
            router = self.routers[address] = _Router(self, address, process, on_frames, on_gone)
            return router

        return opened

    def dealer(self, address: str, process: Process) -> OpenDealer:
        """Connect."""

        def opened(on_frames: OnFrames, on_writable: Callable[[], None]) -> Pump:
            return _Dealer(self, address, process, on_frames, on_writable)

        return opened

    def lose(self, process: Process, *, silently: bool = False) -> None:
        """The process is dead.

        Its host's kernel closes the connections, unless it is gone `silently`, with the host.
        """
        for connection in [
            connection
            for connection in self._connections
            if process in (connection.dealer.process, connection.router.process)
        ]:
            if silently:
                connection.up.lost = connection.down.lost = True
                self.at(self.loop.time() + HEARTBEAT_TIMEOUT_S, connection.break_off)
            else:
                connection.break_off()
        self.routers = {
            address: router
            for address, router in self.routers.items()
            if router.process is not process
        }

    def part(self, worker: str, address: str, seconds: float) -> None:
        """Nothing passes between a worker and a frontend; what is sent arrives later, if the
        connection lasts so long.
        """
        until = self.loop.time() + seconds
        self._apart_until[worker, address] = until
        for connection in self.between(worker, address):
            connection.up.stalled_until = connection.down.stalled_until = until
            if seconds > HEARTBEAT_TIMEOUT_S:
                self.at(self.loop.time() + HEARTBEAT_TIMEOUT_S, connection.break_off)

    def break_off(self, worker: str, address: str) -> None:
        """The connection breaks; another follows."""
        for connection in self.between(worker, address):
            connection.break_off()

    def fill(self, worker: str, address: str, seconds: float) -> None:
        """Neither side has room for messages."""
        for connection in self.between(worker, address):
            for lane in (connection.up, connection.down):
                lane.fill(self.loop.time() + seconds)

    def between(self, worker: str, address: str) -> "list[_Connection]":
        """Connections of a worker with a frontend: as many as it has addresses, or none."""
        return [
            one
            for one in self._connections
            if one.dealer.process.name == worker and one.router.address == address
        ]

    def heal(self) -> None:
        """From here on messages arrive."""
        self.weather = Weather()
        self._apart_until.clear()
        for connection in self._connections:
            for lane in (connection.up, connection.down):
                lane.stalled_until = 0.0
                lane.fill(self.loop.time())

    @property
    def holds_back(self) -> bool:
        """Messages are still under way that were sent while their ways were parted: `heal` does
        not hurry them, and what is sent later arrives behind them.
        """
        usual_s = self.loop.time() + self.weather.delay_s[1]
        return any(
            lane.last_due > usual_s
            for connection in self._connections
            for lane in (connection.up, connection.down)
        )

    @property
    def idle(self) -> bool:
        """Nobody is connected."""
        return not self._connections

    def connect(self, dealer: "_Dealer") -> None:
        """Try to connect; again later if there is no way."""
        if dealer.closed or dealer.process.dead or dealer.connection is not None:
            return
        router = self.routers.get(self.aliases.get(dealer.address, dealer.address))
        if (
            router is None
            or dealer.process.stopped
            or self.loop.time() < self._apart_until.get((dealer.process.name, dealer.address), 0.0)
        ):
            self.retry(dealer)
            return
        self._identities += 1
        connection = _Connection(self, dealer, router, b"\0" + self._identities.to_bytes(4, "big"))
        self._connections.append(connection)
        router.connections[connection.identity] = dealer.connection = connection
        self.loop.call_soon(dealer.writable, context=dealer.process.context)

    def retry(self, dealer: "_Dealer") -> None:
        """Connect after a while."""
        self.at(self.loop.time() + self.random.uniform(*_RECONNECT_S), self.connect, dealer)

    def forget(self, connection: "_Connection") -> None:
        """It is broken."""
        self._connections.remove(connection)


class _Connection:
    """Two lanes between a DEALER and a ROUTER."""

    def __init__(
        self, network: Network, dealer: "_Dealer", router: "_Router", identity: bytes
    ) -> None:
        self.dealer = dealer
        self.router = router
        self.identity = identity
        self.network = network
        self.open = True
        name = dealer.process.name
        self.up = _Lane(
            self,
            f"{name}>{router.process.name}",
            router.process,
            self._to_router,
            dealer.writable,
            dealer.process,
        )
        self.down = _Lane(
            self,
            f"{name}<{router.process.name}",
            dealer.process,
            dealer.on_frames,
            _nothing,
            router.process,
        )

    def _to_router(self, frames: list[bytes]) -> None:
        self.router.on_frames([self.identity, *frames])

    def break_off(self) -> None:
        """Lose what is under way; the DEALER connects again."""
        if not self.open:
            return
        self.open = False
        self.network.forget(self)
        self.router.connections.pop(self.identity, None)
        if self.dealer.connection is self:
            self.dealer.connection = None
        self.network.retry(self.dealer)

    def close_behind(self) -> None:
        """Break when what is under way has arrived."""
        self.network.at(max(self.network.loop.time(), self.up.last_due) + 0.001, self.break_off)


class _Lane:
    """One direction of a connection."""

    def __init__(
        self,
        connection: _Connection,
        name: str,
        receiver: Process,
        receive: OnFrames,
        on_writable: Callable[[], None],
        sender: Process,
    ) -> None:
        self.connection = connection
        self.name = name
        self.lost = False
        """What is sent goes nowhere and nobody knows."""
        self.stalled_until = 0.0
        self.last_due = 0.0
        self._network = connection.network
        self._receiver = receiver
        self._receive = receive
        self._sender = sender
        self._on_writable = on_writable
        self._under_way = 0
        self._full_until = 0.0

    def fill(self, until: float) -> None:
        """There is no room before `until`."""
        self._full_until = until
        if self._on_writable is not _nothing:
            self._network.loop.call_at(until, self._on_writable, context=self._sender.context)

    def send(self, frames: Sequence[bytes]) -> bool:
        """Whether there was room."""
        network = self._network
        now, random, weather = network.loop.time(), network.random, network.weather
        if self._under_way >= weather.queue or now < self._full_until:
            return False
        due = max(now, self.stalled_until) + random.uniform(*weather.delay_s)
        if weather.reorder and random.random() < weather.reorder:
            due += random.uniform(0.0, weather.late_s)
        else:
            self.last_due = due = max(due, self.last_due + _ONE_BY_ONE_S)
        lost = self.lost or (weather.drop > 0 and random.random() < weather.drop)
        self._under_way += 1
        network.loop.call_at(due, self._arrive, list(frames), lost, context=self._receiver.context)
        if weather.duplicate and random.random() < weather.duplicate:
            self._under_way += 1
            network.loop.call_at(
                due + random.uniform(0.0, weather.late_s),
                self._arrive,
                list(frames),
                lost,
                context=self._receiver.context,
            )
        return True

    def _arrive(self, frames: list[bytes], lost: bool) -> None:
        if not self.connection.open:
            return
        full = self._under_way >= self._network.weather.queue
        self._under_way -= 1
        if full:
            self._network.loop.call_soon(self._on_writable, context=self._sender.context)
        if not lost:
            self._network.trace.message(self._network.loop.time(), self.name, frames)
            self._receive(frames)


class _Dealer:
    def __init__(
        self,
        network: Network,
        address: str,
        process: Process,
        on_frames: OnFrames,
        on_writable: Callable[[], None],
    ) -> None:
        self.address = address
        self.process = process
        self.closed = False
        self.connection: _Connection | None = None
        self._network = network
        self._on_frames = on_frames
        self._on_writable = on_writable
        self._blocked = False
        network.dialling[process] += 1
        network.retry(self)

    def send(self, frames: Sequence[bytes]) -> bool:
        """False without a connection, and when it has no room."""
        sent = (
            not self.closed
            and not self.process.dead
            and self.connection is not None
            and self.connection.up.send(frames)
        )
        self._blocked |= not sent
        return sent

    def on_frames(self, frames: list[bytes]) -> None:
        """A message arrived."""
        if not self.closed:
            self._on_frames(frames)

    def writable(self) -> None:
        """There is room."""
        if self._blocked and not self.closed:
            self._blocked = False
            self._on_writable()

    def close(self) -> None:
        """Let what was sent arrive. What is unwound of a dead process closes nothing."""
        self._network.dialling[self.process] -= not self.closed
        self.closed = True
        if self.connection is not None and not self.process.dead:
            self.connection.close_behind()


class _Router:
    def __init__(
        self,
        network: Network,
        address: str,
        process: Process,
        on_frames: OnFrames,
        on_gone: Callable[[bytes], None],
    ) -> None:
        self.address = address
        self.process = process
        self.closed = False
        self.connections: dict[bytes, _Connection] = {}
        self._network = network
        self._on_frames = on_frames
        self._on_gone = on_gone

    def send(self, frames: Sequence[bytes]) -> bool:
        """False when there is no room or no such connection; of the latter `on_gone` is told."""
        if self.closed or self.process.dead:
            return False
        connection = self.connections.get(frames[0])
        if connection is None:
            self._network.loop.call_soon(self._on_gone, frames[0], context=self.process.context)
            return False
        return connection.down.send(frames[1:])

    def on_frames(self, frames: list[bytes]) -> None:
        """A message arrived."""
        if not self.closed:
            self._on_frames(frames)

    def close(self) -> None:
        """Let what was sent arrive."""
        self.closed = True
        if self.process.dead:
            return
        self._network.routers.pop(self.address, None)
        for connection in list(self.connections.values()):
            self._network.at(
                max(self._network.loop.time(), connection.down.last_due) + 0.001,
                connection.break_off,
            )


def _nothing() -> None: ...


def is_message(handle: asyncio.Handle) -> bool:
    """Whether a callback is a message under way."""
    return isinstance(getattr(handle._callback, "__self__", None), _Lane)  # type: ignore[attr-defined]
