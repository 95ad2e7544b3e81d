"""A worker process of the simulation: links, intake, health, departure and the simulated engine are
the real ones.

Its life is that of workers/server.py, with neither ZMQ nor model files.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from protocol.generation import Generate
from protocol.limits import HEARTBEAT_INTERVAL_S
from protocol.membership import Draining, Goodbye, Heartbeat, Hello
from protocol.requests import Abort, ToWorker
from tests.simulation.loop import Process, ProcessEnded, VirtualLoop
from tests.simulation.network import Network
from workers.engine import EngineFacts
from workers.health.rank_watch import HealthLimits
from workers.health.watched_engine import HealthSettings, WatchedEngine
from workers.kinds.text import TEXT
from workers.mesh.frontend_link import FrontendLink
from workers.mesh.intake import Intake
from workers.process.departure import Departure, DrainLimits
from workers.sim.engine import SimEngine
from workers.sim.faults import Faults
from workers.sim.settings import SimSettings

HEALTH = HealthSettings(limits=HealthLimits(idle_silence_s=1.0, answer_s=0.5))


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """What a worker is started with, again and again.

    Attributes:
        credit_requests: granted to each frontend; at least twice what it runs, as real workers
        grant.
    """

    settings: SimSettings
    credit_requests: int
    drain_s_max: float
    start_s: float


class NotedFaults(Faults):
    """Faults that tell which of them a request asked for.

    Args:
        on_fault: called with the seed of every request that the engine is given.
    """

    def __init__(
        self, crash: Callable[[], None], block: Callable[[], None], on_fault: Callable[[int], None]
    ) -> None:
        super().__init__(crash=crash, block=block)
        self._on_fault = on_fault

    def on_seed(self, seed: int) -> str | None:
        """As Faults."""
        self._on_fault(seed)
        return super().on_seed(seed)


class SimulatedWorker:
    """One process of a worker, from start to end.

    Args:
        on_end: called when the process is gone, with whether it died.
        on_fault: called with the seed of every request that the engine is given.
    """

    def __init__(
        self,
        worker_id: str,
        epoch: int,
        spec: WorkerSpec,
        network: Network,
        addresses: list[str],
        *,
        on_end: Callable[["SimulatedWorker", bool], None],
        on_fault: Callable[[int], None],
    ) -> None:
        self.worker_id = worker_id
        self.spec = spec
        self.loop: VirtualLoop = network.loop
        self.process = Process(worker_id, self.loop)
        self.faults = NotedFaults(self.crash, self._block, on_fault)
        self._sim = SimEngine(
            spec.settings, faults=self.faults, unix_ms=lambda: int(self.loop.time() * 1000)
        )
        self._engine = WatchedEngine(
            self._sim, HEALTH, canaries=TEXT.canaries, clock=self.loop.time
        )
        self.departure = Departure(DrainLimits(timeout_s=spec.drain_s_max))
        self.intake = Intake(
            self._engine,
            unix_ms=lambda: self.loop.time() * 1000,
            on_idle=self.departure.note_idle,
            offers=lambda _: False,
        )
        self.links: list[FrontendLink] = []
        self.draining_since: float | None = None
        self.hung_since: float | None = None
        self.ended_at: float | None = None
        self.vanished = False
        """Its end could not be seen from its connections."""
        self.blocked = False
        """Its loop will never turn again."""
        self.epoch = epoch
        self._network = network
        self._addresses = addresses
        self._on_end = on_end
        self._hello: Hello | None = None
        self.process.begin(self._live())

    @property
    def up(self) -> bool:
        """The process lives, may be stopped though."""
        return not self.process.dead

    def engine_idle(self) -> bool:
        """Whether no rank has anything to do."""
        return all(
            load.requests_running + load.requests_waiting == 0 for load in self._engine.loads()
        )

    def drain(self) -> None:
        """SIGTERM, when it is up."""
        if self._hello is not None:
            self.process.context.copy().run(self.departure.note_signal, 15)

    def kill(self, *, silently: bool = False) -> None:
        """SIGKILL, or the host is gone."""
        if self.up:
            self._network.lose(self.process, silently=silently)
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
        for spec in specs:
            self.process.context.copy().run(self._sim.fault, spec)

    def _block(self) -> NoReturn:
        self.blocked = True
        self.process.stop()
        raise ProcessEnded

    async def _live(self) -> None:
        await asyncio.sleep(self.spec.start_s)
        facts = await self._engine.start(self.intake.deliver, self.departure.note_death)
        assert isinstance(facts, EngineFacts)
        self._hello = self._introduction(facts)
        self.intake.credit_requests = self.spec.credit_requests
        self.links = [self._dial(address) for address in self._addresses]
        beating = asyncio.ensure_future(self._beat_forever())
        await self.departure.asked()
        if not self.departure.hasty:
            await self._drain()
        beating.cancel()
        await self._leave()
        died = bool(self.departure.death)
        await asyncio.sleep(0.1)  # what was sent leaves
        self._network.lose(self.process)
        self.process.dead = True
        self._note_end(died=died)

    def _note_end(self, *, died: bool) -> None:
        self.ended_at = self.loop.time()
        self._on_end(self, died)

    async def _drain(self) -> None:
        self.draining_since = self.loop.time()
        for link in self.links:
            link.send(Draining())
        await self.departure.grace_over()
        self.intake.closed = True
        await self.departure.drained(self.intake.__len__)

    async def _leave(self) -> None:
        self.intake.closed = True
        self.draining_since = self.draining_since or self.loop.time()
        death = self.departure.death
        for link in self.links:
            link.send(Goodbye(death or "the worker was stopped", planned=not death))
            link.close()
        await (self._engine.kill() if death else self._engine.stop())

    async def _beat_forever(self) -> None:
        due_at = self.loop.time()
        while True:
            stalled = self.loop.time() - due_at > HEARTBEAT_INTERVAL_S
            self._engine.check()
            heartbeat = Heartbeat(
                self.worker_id, self.epoch, self._engine.loads(), None, self._engine.reason
            )
            for link in self.links:
                link.beat(heartbeat)
                if not stalled:
                    link.give_up_if_silent()
            due_at = self.loop.time() + HEARTBEAT_INTERVAL_S
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    def _dial(self, address: str) -> FrontendLink:
        return FrontendLink(
            address,
            self._network.dealer(address, self.process),
            hello=lambda: None if self.draining_since is not None else self._hello,
            on_request=self._on_request,
            on_forgotten=self.intake.abort_all_of,
            unix_ms=lambda: self.loop.time() * 1000,
        )

    def _on_request(self, link: FrontendLink, message: ToWorker) -> None:
        match message:
            case Generate():
                self.intake.take(link, message)
            case Abort():
                self.intake.abort(link, message.request_id)
            case _:
                raise AssertionError(f"a worker was sent {message}")

    def _introduction(self, facts: EngineFacts) -> Hello:
        return Hello(
            worker_id=self.worker_id,
            epoch=self.epoch,
            service="text",
            endpoint="dyn://sim.backend.generate",
            card=facts.card,
            capacity=facts.capacity,
            credit_requests=self.spec.credit_requests,
            engine=facts.version,
        )
