"""A worker process of the simulation: the real WorkerServer over simulated engine and network."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from protocol.disaggregation import BootstrapServer
from protocol.media_plane import Encodings
from protocol.transport.pump import OpenDealer
from tests.simulation.drawing import MortalGenerator, drawing_engine, new_folder
from tests.simulation.encoder import ENCODING, MortalEncoder, Role
from tests.simulation.loop import Process, ProcessEnded, VirtualLoop
from tests.simulation.media import SimulatedDoor, SimulatedMediaClient
from tests.simulation.meetings import USUAL_PORT, SimulatedMeetings
from tests.simulation.network import Network
from workers.diffusion.engine import DiffusionEngine
from workers.encoding.engine import EncoderEngine
from workers.encoding.fetching import Fetching
from workers.health.rank_watch import HealthLimits
from workers.health.watched_engine import HealthSettings
from workers.kinds.encode import ENCODE
from workers.kinds.image_diffusion import IMAGE_DIFFUSION
from workers.kinds.kind import WorkerKind
from workers.kinds.multimodal import MULTIMODAL, MULTIMODAL_PREFILL
from workers.kinds.prefill import PREFILL
from workers.kinds.processor import PROCESSOR
from workers.kinds.text import TEXT
from workers.mesh.addresses import AddressBook
from workers.mesh.frontend_link import FrontendLink
from workers.mesh.intake import Intake
from workers.mesh.kv_plane import KvPlane, KvSettings
from workers.mesh.media_plane import OnFetch
from workers.process.departure import Departure, DrainLimits
from workers.server import WorkerServer
from workers.sim.engine import SimEngine
from workers.sim.faults import Faults
from workers.sim.handover.legs import Legs
from workers.sim.settings import SimSettings
from workers.system.board import Board
from workers.system.controls import Controls

HEALTH = HealthSettings(limits=HealthLimits(idle_silence_s=1.0, answer_s=0.5))

DOOR_PORT = 9_100
"""One that is started anew may have the next one."""

_LINGER_S = 0.1
"""What was sent leaves."""


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """What a worker is started with, again and again.

    Attributes:
        credit_requests: granted to each frontend; at least twice what it runs, as real workers
        grant.
        clock_ahead_s: of its host's clock, beyond those of the frontends.
        cache_bytes: of what it made of pictures, if it encodes any.
    """

    settings: SimSettings
    credit_requests: int
    drain_s_max: float
    start_s: float
    clock_ahead_s: float = 0.0
    role: Role = "text"
    cache_bytes: int = 0


class NotedFaults(Faults):
    """Faults that tell which of them a request asked for, and that befall the next so many caches.

    Args:
        on_fault: called with the seed of every request that the engine is given.
    Attributes:
        next_caches: called as the next ones are handed over, one each, for what befalls them.
    """

    def __init__(
        self, crash: Callable[[], None], block: Callable[[], None], on_fault: Callable[[int], None]
    ) -> None:
        super().__init__(crash=crash, block=block)
        self._on_fault = on_fault
        self.next_caches: list[Callable[[], str | None]] = []

    def on_handover(self) -> str | None:
        """As Faults."""
        return self.next_caches.pop(0)() if self.next_caches else super().on_handover()

    def on_seed(self, seed: int) -> str | None:
        """As Faults."""
        self._on_fault(seed)
        return super().on_seed(seed)


class NotedDeparture(Departure):
    """A departure that knows since when.

    Attributes:
        since: when it was asked for, or the engine died; None before.
        urgent_since: when there was no time for anything any more; None before.
    """

    def __init__(self, limits: DrainLimits, now: Callable[[], float]) -> None:
        super().__init__(limits)
        self.since: float | None = None
        self.urgent_since: float | None = None
        self._now = now

    def note_signal(self, number: int) -> None:
        """As Departure."""
        super().note_signal(number)
        self._note()

    def note_death(self, reason: str) -> None:
        """As Departure."""
        super().note_death(reason)
        self._note()

    def _note(self) -> None:
        self.since = self._now() if self.since is None else self.since
        if self.hasty and self.urgent_since is None:
            self.urgent_since = self._now()


class SimulatedTransport:
    """A worker's Transport through the networks of a world.

    Args:
        media: by which workers fetch encodings from each other.
        door: the address there of what this one encodes.
    """

    def __init__(self, network: Network, process: Process, *, media: Network, door: str) -> None:
        self._network = network
        self._process = process
        self._media = media
        self._door = door

    def open_dealer(self, address: str) -> OpenDealer:
        """As Transport."""
        return self._network.dealer(address, self._process)

    def loading(
        self, found: Sequence[str], unresolved: Sequence[str], *, worker_id: str, model: str
    ) -> AbstractContextManager[object]:
        """Engines start faster than the first notice would be sent."""
        return nullcontext()

    def kv_plane(self, streams: object, settings: object, *, frontends: object) -> KvPlane:
        """There are no streams."""
        raise AssertionError("a simulated engine publishes nothing here")

    def media_door(
        self,
        on_fetch: OnFetch,
        settings: KvSettings,
        *,
        frontends: Sequence[str],
        on_read: Callable[[], None],
    ) -> SimulatedDoor:
        """As Transport."""
        return SimulatedDoor(self._media, self._process, self._door, on_fetch)

    def media_client(self, on_answer: Callable[[Encodings], None]) -> SimulatedMediaClient:
        """As Transport."""
        return SimulatedMediaClient(self._media, self._process, on_answer)

    def note_silent(self, addresses: Collection[str]) -> None:
        """Nobody would read it."""

    async def close(self) -> None:
        """Nothing is left open."""


class SimulatedWorker:
    """One process of a worker, from start to end.

    Args:
        frontends: as --frontend.
        engines: by which engines reach each other, this one at `host`.
        media: by which workers fetch encodings from each other.
        on_end: called when the process is gone, with whether it died.
        on_fault: called with the seed of every request that the engine is given.
    """

    def __init__(
        self,
        worker_id: str,
        epoch: int,
        spec: WorkerSpec,
        network: Network,
        frontends: list[str],
        *,
        engines: Network,
        media: Network,
        host: str,
        on_end: Callable[["SimulatedWorker", bool], None],
        on_fault: Callable[[int], None],
    ) -> None:
        self.worker_id = worker_id
        self.spec = spec
        self.loop: VirtualLoop = network.loop
        self.process = Process(worker_id, self.loop)
        self.faults = NotedFaults(self.crash, self._block, on_fault)
        self.departure = NotedDeparture(DrainLimits(timeout_s=spec.drain_s_max), self.loop.time)
        self.board = Board(worker_id, self.loop.time)
        self.hung_since: float | None = None
        self.ended_at: float | None = None
        self.ended_in_peace = False
        self.vanished = False
        """Its end could not be seen from its connections."""
        self.blocked = False
        """Its loop will never turn again."""
        self.epoch = epoch
        self.stage = spec.role if spec.role in ENCODING else spec.settings.disaggregation_mode
        # one that is started anew may have another port
        self.server = BootstrapServer(host, USUAL_PORT + epoch % 2)
        self.door = f"tcp://{host}:{DOOR_PORT + epoch % 2}"
        """Where others fetch what it makes of pictures."""
        self._encoder: MortalEncoder | None = None
        self._drawer: MortalGenerator | None = None
        self.folder: Path | None = None
        """Of what it makes, if it makes pictures."""
        self._engine = self._any_engine(engines)
        self._networks = network, engines, media
        self._network = network
        self._on_end = on_end
        self._serving = False
        self._server: WorkerServer = self.process.context.copy().run(self._made, frontends)
        self.process.begin(self._live())

    @property
    def up(self) -> bool:
        """The process lives, may be stopped though."""
        return not self.process.dead

    @property
    def links(self) -> list[FrontendLink]:
        """To every frontend that it dialled; none before the engine is up."""
        return list(self._server.links)

    @property
    def dialling(self) -> int:
        """Connections that it has open, or tries to have."""
        return self._network.dialling[self.process]

    @property
    def intake(self) -> Intake:
        """What its requests pass."""
        return self._server.intake

    def engine_idle(self) -> bool:
        """Whether no rank has anything to do."""
        return all(
            load.requests_running + load.requests_waiting == 0 for load in self._engine.loads()
        )

    @property
    def legs(self) -> Legs | None:
        """What its engine keeps of legs."""
        return self._engine._legs if isinstance(self._engine, SimEngine) else None

    @property
    def encoder_engine(self) -> EncoderEngine | None:
        """Its engine, if it encodes pictures."""
        return self._engine if isinstance(self._engine, EncoderEngine) else None

    @property
    def drawing_engine(self) -> DiffusionEngine | None:
        """Its engine, if it makes pictures."""
        return self._engine if isinstance(self._engine, DiffusionEngine) else None

    @property
    def fetching(self) -> Fetching:
        """What waits for pictures that others encode."""
        return self._server._media.fetching

    @property
    def kv_tokens_used(self) -> int:
        """By requests, on all ranks."""
        return sum(load.kv_tokens_used for load in self._engine.loads())

    def drain(self) -> None:
        """SIGTERM, when it is up."""
        if self._serving:
            self.process.context.copy().run(self.departure.note_signal, 15)

    def kill(self, *, silently: bool = False) -> None:
        """SIGKILL, or the host is gone."""
        if self.up:
            for network in self._networks:
                network.lose(self.process, silently=silently)
            self.departure.urgent = True  # what is unwound shall not begin anything
            self.process.kill()
            self.vanished = silently
            self._note_end(died=True)

    def crash(self) -> NoReturn:
        """A request kills the process that it came to."""
        self.kill()
        raise ProcessEnded

    def fault(self, *specs: str) -> None:
        """Arm faults (workers/sim/faults.py) now."""
        self.hung_since = (
            self.loop.time()
            if any(spec.startswith("hang-after") for spec in specs)
            else self.hung_since
        )
        takes = self._encoder or self._drawer or self._engine
        assert not isinstance(takes, EncoderEngine | DiffusionEngine)
        for spec in specs:
            self.process.context.copy().run(takes.fault, spec)

    def _block(self) -> NoReturn:
        self.blocked = True
        self.process.stop()
        raise ProcessEnded

    def _unix_ms(self) -> float:
        return (self.loop.time() + self.spec.clock_ahead_s) * 1000

    def _any_engine(self, engines: Network) -> SimEngine | EncoderEngine | DiffusionEngine:
        if self.spec.role in ENCODING:
            return self._encodes()
        return self._draws() if self.spec.role == "draw" else self._generates(engines)

    def _draws(self) -> DiffusionEngine:
        self.folder = new_folder()
        self._drawer = MortalGenerator(self.spec.settings, self.faults)
        return drawing_engine(self._drawer, self.folder, self._unix_ms, self.epoch)

    def _generates(self, engines: Network) -> SimEngine:
        return SimEngine(
            self.spec.settings,
            faults=self.faults,
            unix_ms=lambda: int(self._unix_ms()),
            meetings=lambda _: SimulatedMeetings(engines, self.process, self.server),
        )

    def _encodes(self) -> EncoderEngine:
        pixels = self.spec.role == "process"
        self._encoder = MortalEncoder(self.spec.settings, self.faults, makes_pixels=pixels)
        return EncoderEngine(
            self._encoder, cache_bytes=self.spec.cache_bytes, unix_ms=self._unix_ms
        )

    def _kind(self) -> WorkerKind:
        match self.spec.role:
            case "encode":
                return ENCODE
            case "process":
                return PROCESSOR
            case "draw":
                return IMAGE_DIFFUSION
            case "multimodal":
                return MULTIMODAL_PREFILL if self.stage == "prefill" else MULTIMODAL
            case "text":
                return PREFILL if self.stage == "prefill" else TEXT

    def _made(self, frontends: list[str]) -> WorkerServer:
        return WorkerServer(
            self._engine,
            kind=self._kind(),
            transport=SimulatedTransport(
                self._network, self.process, media=self._networks[-1], door=self.door
            ),
            clock=self.loop.time,
            unix_ms=self._unix_ms,
            worker_id=self.worker_id,
            epoch=self.epoch,
            addresses=AddressBook(frontends),
            endpoint=None,
            kv=KvSettings(block_size_tokens=16, host=None, port=0),
            health=HEALTH,
            departure=self.departure,
            board=self.board,
            controls=Controls(),
            credit=lambda _: self.spec.credit_requests,
        )

    async def _live(self) -> None:
        await asyncio.sleep(self.spec.start_s)
        await self._server.start("kvmesh-demo")
        self._serving = True
        await self._server.serve()
        await asyncio.sleep(_LINGER_S)
        for network in self._networks:
            network.lose(self.process)
        self.ended_in_peace = self.process.dead = True
        self._note_end(died=bool(self.departure.death))

    def _note_end(self, *, died: bool) -> None:
        self.ended_at = self.loop.time()
        self._on_end(self, died)
