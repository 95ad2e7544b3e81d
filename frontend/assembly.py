"""Puts a frontend together from its parts, but for HTTP, sockets and the clock of the wall."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Generic

from frontend.drain import Drain, OpenT
from frontend.fleet.registry import Registry
from frontend.inflight.jobs import Jobs
from frontend.inflight.recovery import Recovery
from frontend.mesh.dispatch import Dispatch
from frontend.mesh.joining import PrepareModel
from frontend.mesh.membership import Membership
from frontend.mesh.outputs import Outputs
from frontend.mesh.queries import Queries
from frontend.mesh.wire import MeshWire
from frontend.observe.metrics import FrontendMetrics
from frontend.routing.admission import AdmissionQueue, Shedding
from frontend.routing.patience import Patience
from frontend.routing.policies.modes import policy_of
from frontend.routing.router import Lifetimes, Router
from frontend.routing.waiting_memory import WaitingMemory
from frontend.settings import FrontendSettings
from kv_events.index import BlockBudget
from kv_events.subscriber import KvSubscriber
from protocol.membership import Loading
from protocol.requests import Welcome
from protocol.transport.pump import OpenRouter


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Surroundings holds what the parts of a frontend take from outside: the net, the clock,
    chance and models.

    Attributes:
        open_router: opens the socket that workers connect to.
        prepare: makes a model servable from a worker's Hello.
        subscriber: follows the workers' KV events; None if nobody does.
        memory: of requests that wait, over all models.
        random: for policies that draw lots, and numbers that nobody else has.
        unix_s: wall clock, against which deadlines are meant.
        new_request_id: names a leg of a request that is moved.
        siblings: frontends that workers are to dial beside this one.
        tell_loading: called with what workers say that load.
    """

    frontend_id: str
    open_router: OpenRouter
    prepare: PrepareModel
    subscriber: KvSubscriber | None
    memory: WaitingMemory
    metrics: FrontendMetrics
    random: Random
    unix_s: Callable[[], float]
    new_request_id: Callable[[], str]
    siblings: int = 0
    tell_loading: Callable[[Loading], None] | None = None


class Assembly(Generic[OpenT]):
    """An Assembly holds the parts of a running frontend, made on the event loop that it lives on.

    Attributes:
        budget: of the blocks that all ranks together are known to hold.
        registry: workers, and what each model can run on.
        router: chooses where they run.
        dispatch: the requests that run on them.
        outputs: what workers made.
        jobs: what they make while nobody waits for it.
        recovery: moves the requests of workers that are lost.
        drain: how the frontend leaves, and what is being answered.
    """

    def __init__(
        self, settings: FrontendSettings, around: Surroundings, now: Callable[[], float]
    ) -> None:
        metrics = around.metrics
        self.budget = BlockBudget(settings.kv_index_blocks_max)
        self.registry = Registry(lambda: AdmissionQueue(around.memory, _shedding(settings)))
        wire = MeshWire(around.open_router, metrics.malformed_messages.inc)
        self.router = _router(settings, around.random)
        self.dispatch = Dispatch(
            self.registry,
            wire,
            self.router,
            metrics.router,
            around.unix_s,
            chance=around.random.getrandbits,
            disagg_min_prompt=settings.disagg_min_prompt,
        )
        self.outputs = Outputs(self.registry, wire.send, around.new_request_id)
        self.jobs = Jobs(
            self.outputs,
            metrics.jobs,
            is_connected=lambda worker_id: self.registry.namesake(worker_id) is not None,
            note_made=metrics.outputs.note,
            unix_s=around.unix_s,
        )
        self._membership = Membership(
            self.registry,
            wire,
            self.dispatch,
            Queries(self.registry, wire.send, around.unix_s),
            self.outputs,
            welcome=Welcome(around.frontend_id, around.siblings),
            prepare=around.prepare,
            subscriber=around.subscriber,
            budget=self.budget,
            losses=metrics.losses,
            unix_s=around.unix_s,
            tell_loading=around.tell_loading,
        )
        self.recovery = Recovery(
            self.dispatch,
            metrics.losses,
            moves_max=settings.migration_limit,
            new_request_id=around.new_request_id,
            now=now,
        )
        self.drain = Drain[OpenT](
            grace_s=settings.graceful_shutdown_grace_period_secs,
            finish_s_max=settings.http_graceful_shutdown_timeout_secs,
        )

    async def close(self) -> None:
        """Stops the frontend's parts; what still runs fails with WorkerLost, but for jobs, which go
        on at their workers.
        """
        await self.jobs.close()
        await self._membership.close()


def _shedding(settings: FrontendSettings) -> Shedding | None:
    return (
        Shedding(Patience(settings.shed_load_share), settings.shed_load_wait_secs)
        if settings.shed_load
        else None
    )


def _router(settings: FrontendSettings, random: Random) -> Router:
    lifetimes = Lifetimes(
        predicted_s=settings.router_predicted_ttl_secs,
        assumed_s=settings.router_ttl_secs,
        session_s=settings.router_session_affinity_ttl_secs,
    )
    return Router(
        settings.router_mode,
        policy_of(settings.router_mode, settings.router_weights, random),
        lifetimes,
    )
