"""A frontend process of the simulation: what frontend/assembly.py puts together, without HTTP."""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from random import Random

from frontend.assembly import Assembly, Surroundings
from frontend.inflight.recovery import Recovery
from frontend.mesh.dispatch import Dispatch
from frontend.observe.metrics import FrontendMetrics
from frontend.routing.router import RouterMode
from frontend.routing.waiting_memory import WaitingMemory
from frontend.settings import FrontendSettings
from protocol.membership import Hello
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.model import RecordedModel, read_model, served
from tests.simulation.network import Network
from workers.sim.settings import SimSettings

asking: ContextVar[int | None] = ContextVar("asking", default=None)
"""Number of the request that a task works for."""


@dataclass(frozen=True, kw_only=True)
class FrontendSpec:
    """What of a frontend's settings matters here."""

    mode: RouterMode
    queue_bytes: int
    shed_share: float | None
    """None: whoever can wait may wait."""
    shed_wait_s: float
    moves_max: int


@lru_cache(maxsize=1)
def shared_metrics() -> FrontendMetrics:
    """Of all worlds: they are only counted up."""
    return FrontendMetrics()


class SimulatedFrontend:
    """One process of a frontend."""

    def __init__(self, number: int, spec: FrontendSpec, network: Network, random: Random) -> None:
        self.number = number
        self.address = f"frontend-{number}"
        self.prefix = f"{number:02x}"
        """Of its requests' ids."""
        self.asked_by: dict[str, int | None] = {}
        """Id of a leg → number of the request that it is for."""
        self.spec = spec
        self.loop: VirtualLoop = network.loop
        self.process = Process(self.address, self.loop)
        self.assembly: Assembly[object]
        self._network = network
        self._random = random
        self._request_numbers = count(1)
        self.process.context.copy().run(self._open)

    def new_request_id(self) -> str:
        """32 hex digits."""
        request_id = f"{self.prefix}{next(self._request_numbers):030x}"
        self.asked_by[request_id] = asking.get()
        return request_id

    def kill(self, *, silently: bool = False) -> None:
        """SIGKILL, or the host is gone; its clients see a broken connection."""
        self._network.lose(self.process, silently=silently)
        self.process.kill()

    async def close(self) -> None:
        """End in peace."""
        await self.process.begin(self.assembly.close())

    def _open(self) -> None:
        spec = self.spec
        self.waiting_memory = WaitingMemory(spec.queue_bytes)
        settings = FrontendSettings(
            router_mode=spec.mode,
            router_predicted_ttl_secs=10.0,
            router_ttl_secs=120.0,
            router_session_affinity_ttl_secs=300.0,
            kv_index_blocks_max=100_000,
            migration_limit=spec.moves_max,
            shed_load=spec.shed_share is not None,
            shed_load_share=spec.shed_share or 1.0,
            shed_load_wait_secs=spec.shed_wait_s,
        )
        surroundings = Surroundings(
            frontend_id=self.address,
            open_router=self._network.router(self.address, self.process),
            prepare=self._prepare,
            subscriber=None,
            memory=self.waiting_memory,
            metrics=shared_metrics(),
            random=self._random,
            unix_s=self.loop.time,
            new_request_id=self.new_request_id,
        )
        self.assembly = Assembly[object](settings, surroundings, self.loop.time)

    @property
    def mesh(self) -> Dispatch:
        """What runs on its workers, and who those are."""
        return self.assembly.dispatch

    @property
    def recovery(self) -> Recovery:
        """What moves requests."""
        return self.assembly.recovery

    async def _prepare(self, hello: Hello, fetch: object, ask: object) -> RecordedModel:
        await asyncio.sleep(self._random.uniform(0.0, 0.2))
        return served(read_model(SimSettings())[0])
