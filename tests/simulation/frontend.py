"""A frontend process of the simulation: mesh, router, queue and recovery as frontend/app.py puts
them together, without HTTP.
"""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from random import Random

from frontend.inflight.recovery import Recovery
from frontend.mesh.membership import Mesh
from frontend.observe.metrics import FrontendMetrics
from frontend.routing.admission import AdmissionQueue, Shedding
from frontend.routing.patience import Patience
from frontend.routing.policies.modes import policy_of
from frontend.routing.route import Weights
from frontend.routing.router import Lifetimes, Router, RouterMode
from frontend.routing.waiting_memory import WaitingMemory
from kv_events.index import BlockBudget
from protocol.membership import Hello
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.model import RecordedModel, read_model, served
from tests.simulation.network import Network
from workers.sim.settings import SimSettings

asking: ContextVar[int | None] = ContextVar("asking", default=None)
"""Number of the request that a task works for."""

LIFETIMES = Lifetimes(predicted_s=10.0, assumed_s=120.0, session_s=300.0)


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
        self.mesh: Mesh
        self.recovery: Recovery
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
        await self.process.begin(self.mesh.close())

    def _open(self) -> None:
        spec = self.spec
        shedding = (
            None
            if spec.shed_share is None
            else Shedding(Patience(spec.shed_share), spec.shed_wait_s)
        )
        self.waiting_memory = WaitingMemory(spec.queue_bytes)
        self.mesh = Mesh(
            self._network.router(self.address, self.process),
            frontend_id=self.address,
            prepare=self._prepare,
            router=Router(spec.mode, policy_of(spec.mode, Weights(), self._random), LIFETIMES),
            subscriber=None,
            budget=BlockBudget(100_000),
            new_queue=lambda: AdmissionQueue(self.waiting_memory, shedding),
            metrics=shared_metrics(),
            unix_s=self.loop.time,
        )
        self.recovery = Recovery(
            self.mesh,
            shared_metrics().losses,
            moves_max=spec.moves_max,
            new_request_id=self.new_request_id,
            now=self.loop.time,
        )

    async def _prepare(self, hello: Hello, fetch: object) -> RecordedModel:
        await asyncio.sleep(self._random.uniform(0.0, 0.2))
        return served(read_model(SimSettings())[0])
