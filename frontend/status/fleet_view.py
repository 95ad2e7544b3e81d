"""Describes workers, ranks and models as a snapshot shows them."""

from collections.abc import Mapping
from typing import Final

from frontend.fleet.departed import Departed
from frontend.fleet.model_entry import WHOLE, ModelEntry
from frontend.fleet.rank import Rank
from frontend.fleet.registry import Registry
from frontend.fleet.worker import Phase, Worker
from frontend.models.services import use_of
from frontend.status.snapshot import DepartedStatus, ModelStatus, RankStatus, State, WorkerStatus
from protocol.losses import LossCause
from protocol.membership import Loading

WORKERS_MAX: Final = 200
"""Bounds the workers that a snapshot shows: some 60 KB of one rank each, a second and watcher. Of
more, those that something is the matter with come first.
"""

_PHASES: Final[dict[Phase, State]] = {
    Phase.JOINING: "joining",
    Phase.READY: "ready",
    Phase.DRAINING: "draining",
}

_OPERATED: Final[dict[str, State]] = {
    "paused": "paused",
    "updating": "updating",
    "flushing": "flushing",
    "released": "released",
}

_WHY: Final[dict[Phase, str]] = {
    Phase.JOINING: "The frontend fetches and loads the model's tokenizer and template.",
    Phase.READY: "",
    Phase.DRAINING: "It finishes what runs, takes nothing new, and leaves.",
}

_CAUSES: Final[dict[LossCause, str]] = {
    "stopped": "It was stopped.",
    "died": "Its process or its engine died.",
    "silent": "Nothing was heard from it any more.",
    "unhealthy": "Its engine did not answer.",
    "restarted": "It was started anew.",
    "out_of_step": "Messages between it and this frontend were lost; it joins anew.",
}


def workers_shown(registry: Registry, now: float) -> tuple[list[WorkerStatus], int]:
    """Returns the workers, those that load among them, and how many more there are."""
    connected = [_worker(worker, now) for worker in registry.workers.values()]
    workers = [_loading(each) for each in registry.loading.known(now)] + connected
    left_out = max(0, len(workers) - WORKERS_MAX)
    if left_out:
        workers.sort(key=lambda each: (each.state == "ready", each.worker_id))
    shown = workers[:WORKERS_MAX]
    shown.sort(key=lambda each: (each.model, each.stage or WHOLE, each.worker_id))
    return shown, left_out


def departed_shown(registry: Registry, now: float, unix_s: float) -> list[DepartedStatus]:
    """Returns who left lately, but for those who are back."""
    known = {worker.worker_id for worker in registry.workers.values()}
    known.update(loading.worker_id for loading in registry.loading.known(now))
    shown: list[DepartedStatus] = []
    for each in registry.departed.lately(now):
        if each.worker_id not in known:
            known.add(each.worker_id)  # it may have left before that, too
            shown.append(_departed(each, unix_s - (now - each.at)))
    return shown


def models_shown(registry: Registry, tokens_per_s: Mapping[ModelEntry, float]) -> list[ModelStatus]:
    """Returns the models that are served, or were when requests came that still wait.

    Args:
        tokens_per_s: of the models that have any.
    """
    return [
        _model(entry, tokens_per_s.get(entry, 0.0))
        for entry in registry.entries()
        if entry.workers or len(entry.queue)
    ]


def _worker(worker: Worker, now: float) -> WorkerStatus:
    hello, (state, why) = worker.hello, _state_of(worker)
    return WorkerStatus(
        worker_id=hello.worker_id,
        model=hello.card.name,
        engine=hello.engine,
        service=hello.service,
        stage=hello.stage,
        state=state,
        why=why,
        loading_s=None,
        heard_s=round(max(0.0, now - worker.heard_at), 2),
        kv_events=kv_events_of(worker),
        adapters=len(worker.adapters),
        ranks=[_rank(rank, now) for rank in worker.ranks],
    )


def _state_of(worker: Worker) -> tuple[State, str]:
    """Returns how a worker is, and why."""
    if worker.unhealthy:
        return "unhealthy", worker.unhealthy
    operated = worker.operated
    if worker.phase is Phase.READY and operated.state:
        # a state of a newer worker than this frontend is a pause to people too
        return _OPERATED.get(operated.state, "paused"), operated.reason
    return _PHASES[worker.phase], _WHY[worker.phase]


def kv_events_of(worker: Worker) -> str:
    """Tells whether the worker's cache is known: "none" where events are not followed, for whatever
    reason.
    """
    if not worker.subscriptions:
        return "none"
    current = all(subscription.current for subscription in worker.subscriptions)
    return "current" if current else "catching up"


def _rank(rank: Rank, now: float) -> RankStatus:
    share = rank.hit_rate.share(now)
    return RankStatus(
        dp_rank=rank.dp_rank,
        running=rank.engine_requests - rank.engine_waiting,
        waiting=rank.engine_waiting,
        booked=rank.own_requests,
        running_max=rank.requests_running_max,
        kv_tokens=rank.engine_kv_tokens,
        kv_tokens_max=rank.kv_tokens_max,
        cached_blocks=len(rank.blocks),
        hit_rate=None if share is None else round(share, 4),
    )


def _loading(loading: Loading) -> WorkerStatus:
    return WorkerStatus(
        worker_id=loading.worker_id,
        model=loading.model,
        engine="",
        service="",
        stage="",
        state="loading",
        why="" if loading.phase == "loading" else loading.phase,
        loading_s=round(loading.elapsed_s, 1),
        heard_s=0.0,
        kv_events="none",
        adapters=0,
        ranks=[],
    )


def _departed(departed: Departed, at_unix_s: float) -> DepartedStatus:
    return DepartedStatus(
        worker_id=departed.worker_id,
        model=departed.model,
        cause=departed.cause,
        why="It finished what ran, and left." if departed.planned else _CAUSES[departed.cause],
        planned=departed.planned,
        at_unix_s=round(at_unix_s, 1),
    )


def _model(entry: ModelEntry, tokens_per_s: float) -> ModelStatus:
    card, use = entry.served.card, use_of(entry.service)
    return ModelStatus(
        name=card.name,
        aliases=card.aliases,
        adapters=sorted(entry.adapters),
        service=entry.service,
        does=use.does,
        endpoints=[*use.endpoints],
        sees=card.media is not None and "image" in card.media.modalities,
        context_length=card.context_length,
        ready=entry.ready,
        missing="" if entry.ready else entry.missing,
        workers=len(entry.workers),
        waiting=len(entry.queue),
        tokens_per_s=round(tokens_per_s, 1),
    )
