"""A frontend process of the simulation: the real Assembly over the simulated network; no HTTP."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from random import Random

from frontend.api.launching import Launcher
from frontend.assembly import Assembly, Surroundings
from frontend.conforming.validator import Validator
from frontend.drain import CUT_S_MAX, OpenRequest
from frontend.inflight.recovery import Recovery
from frontend.media.reader import MediaReader
from frontend.mesh.dispatch import Dispatch
from frontend.observe.metrics import FrontendMetrics
from frontend.routing.router import RouterMode
from frontend.routing.waiting_memory import WaitingMemory
from frontend.settings import FrontendSettings
from protocol.membership import Hello
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.model import RecordedModel, served
from tests.simulation.network import Network

PORT = 7000

asking: ContextVar[int | None] = ContextVar("asking", default=None)
"""Number of the request that a task works for."""


@dataclass(frozen=True, kw_only=True)
class FrontendSpec:
    """What a frontend is started with, again and again.

    Attributes:
        queue_bytes: for requests that wait; no whole megabytes, as real frontends have.
        starts_s: virtual seconds after the beginning.
    """

    settings: FrontendSettings
    queue_bytes: int
    starts_s: float = 0.0

    @property
    def leaves_s_max(self) -> float:
        """From SIGTERM to the end."""
        settings = self.settings
        return (
            settings.graceful_shutdown_grace_period_secs
            + settings.http_graceful_shutdown_timeout_secs
            + CUT_S_MAX
        )


def frontend_settings(
    mode: RouterMode,
    *,
    moves_max: int,
    shed_wait_s: float | None,
    grace_s: float,
    finish_s: int,
) -> FrontendSettings:
    """What matters here; whoever can wait may wait if `shed_wait_s` is None."""
    return FrontendSettings(
        router_mode=mode,
        router_predicted_ttl_secs=10.0,
        router_ttl_secs=120.0,
        router_session_affinity_ttl_secs=300.0,
        kv_index_blocks_max=100_000,
        migration_limit=moves_max,
        shed_load=shed_wait_s is not None,
        shed_load_share=1.0,
        shed_load_wait_secs=shed_wait_s or 1.0,
        graceful_shutdown_grace_period_secs=grace_s,
        http_graceful_shutdown_timeout_secs=finish_s,
    )


class SimulatedFrontend:
    """One process of a frontend, from start to end.

    Args:
        number: no other frontend of the world has it.
        metrics: of its world.
        on_end: called when the process is gone.
    """

    def __init__(
        self,
        number: int,
        spec: FrontendSpec,
        network: Network,
        random: Random,
        metrics: FrontendMetrics,
        *,
        on_end: "Callable[[SimulatedFrontend], None]",
    ) -> None:
        self.number = number
        self.name = f"frontend-{number}"
        self.host = f"10.0.0.{number + 1}"
        self.address = f"tcp://{self.host}:{PORT}"
        self.other_host = f"10.1.0.{number + 1}"
        network.aliases[f"tcp://{self.other_host}:{PORT}"] = self.address
        self.prefix = f"{number:02x}"
        """Of its requests' ids."""
        self.asked_by: dict[str, int | None] = {}
        """Id of a leg → number of the request that it is for."""
        self.spec = spec
        self.loop: VirtualLoop = network.loop
        self.started_at = self.loop.time()
        self.process = Process(self.name, self.loop)
        self.waiting_memory = WaitingMemory(spec.queue_bytes)
        self.leaving_since: float | None = None
        self.ended_in_peace = False
        self._network = network
        self._random = random
        self._metrics = metrics
        self._on_end = on_end
        self._request_numbers = count(1)
        self.assembly: Assembly[OpenRequest] = self.process.context.copy().run(self._assembled)
        self.runner = Launcher(
            self.mesh,
            self.recovery,
            Validator(),
            MediaReader(spec.settings.media_bounds),
            self.assembly.outputs,
            jobs=self.assembly.jobs,
            weights=spec.settings.router_weights,
        )
        self.process.begin(self._live())

    @property
    def mesh(self) -> Dispatch:
        """What runs on its workers, and who those are."""
        return self.assembly.dispatch

    @property
    def recovery(self) -> Recovery:
        """What moves requests."""
        return self.assembly.recovery

    @property
    def cuts_at(self) -> float | None:
        """When it ends what is still open; None if it is not asked to leave."""
        if self.leaving_since is None:
            return None
        return self.leaving_since + self.spec.leaves_s_max - CUT_S_MAX

    def new_request_id(self) -> str:
        """32 hex digits."""
        request_id = f"{self.prefix}{next(self._request_numbers):030x}"
        self.asked_by[request_id] = asking.get()
        return request_id

    def kill(self, *, silently: bool = False) -> None:
        """SIGKILL, or the host is gone; its clients see a broken connection."""
        if not self.process.dead:
            self._network.lose(self.process, silently=silently)
            self.process.kill()
            self._on_end(self)

    def drain(self) -> None:
        """SIGTERM."""
        if self.leaving_since is None and not self.process.dead:
            self.leaving_since = self.loop.time()
            self.process.context.copy().run(self.assembly.drain.on_signal, self.loop.time())

    def _assembled(self) -> Assembly[OpenRequest]:
        return Assembly[OpenRequest](
            self.spec.settings,
            Surroundings(
                frontend_id=self.name,
                open_router=self._network.router(self.address, self.process),
                prepare=self._prepare,
                subscriber=None,
                memory=self.waiting_memory,
                metrics=self._metrics,
                random=self._random,
                unix_s=self.loop.time,
                new_request_id=self.new_request_id,
            ),
            self.loop.time,
        )

    async def _live(self) -> None:
        await self.assembly.drain.until_over()
        await self.assembly.close()
        await asyncio.sleep(0.1)  # what was sent leaves
        self.ended_in_peace = True
        self._network.lose(self.process)
        self.process.dead = True
        self._on_end(self)

    async def _prepare(self, hello: Hello, fetch: object, ask: object) -> RecordedModel:
        await asyncio.sleep(self._random.uniform(0.0, 0.2))
        return served(hello.card)
