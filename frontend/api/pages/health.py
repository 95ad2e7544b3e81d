"""The pages /live, /ready and /health say how a frontend is, and why.

/live    the event loop turns. Also while draining: who stops on purpose must not be killed for it.
/ready   send requests here: 503 while draining and while no model has a worker that takes any.
/health  healthy, degraded (served, but something is not as it should be) or unhealthy (nothing can
be served; 503).
"""

from typing import Any

from frontend.fleet.encoders import encodes
from frontend.fleet.registry import Registry
from frontend.fleet.worker import Phase, Worker

Page = tuple[int, dict[str, Any]]
"""A Page is an HTTP status and the object that is sent as JSON."""


def ready_page(registry: Registry, *, draining: bool, now: float) -> Page:
    """Returns the answer to /ready."""
    models = _served(registry)
    if models and not draining:
        return 200, {"status": "ready", "models": models}
    reasons = ["draining"] if draining else []
    return 503, {
        "status": "not ready",
        "reasons": reasons + ([] if models else [_why_nothing_is_served(registry, now)]),
    }


def health_page(registry: Registry, *, draining: bool, now: float) -> Page:
    """Returns the answer to /health: the verdict, its reasons, every worker."""
    served = bool(_served(registry))
    reasons = ["this frontend is draining"] if draining else []
    if not served:
        reasons.append(_why_nothing_is_served(registry, now))
    for worker in registry.workers.values():
        if worker.unhealthy:
            reasons.append(f"worker {worker.worker_id} is unhealthy: {worker.unhealthy}")
        elif worker.phase is Phase.DRAINING:
            reasons.append(f"worker {worker.worker_id} is draining")
    status = "unhealthy" if not served else "degraded" if reasons else "healthy"
    return 200 if served else 503, {
        "status": status,
        "reasons": reasons,
        "workers": [_worker(worker) for worker in registry.workers.values()],
        "loading": [
            {
                "worker_id": loading.worker_id,
                "model": loading.model,
                "phase": loading.phase,
                "elapsed_s": round(loading.elapsed_s, 1),
            }
            for loading in registry.loading.known(now)
        ],
    }


def _served(registry: Registry) -> list[str]:
    return [entry.served.card.name for entry in registry.available() if entry.ready]


def _why_nothing_is_served(registry: Registry, now: float) -> str:
    workers = [each for each in registry.workers.values() if not encodes(each.hello)]
    if any(worker.unhealthy for worker in workers):
        return "no worker is healthy"
    if any(worker.phase is Phase.JOINING for worker in workers):
        return "a worker is joining"
    if registry.loading.known(now):
        return "a worker is loading its model"
    half = next((entry for entry in registry.available() if entry.half), None)
    if half is not None:
        return f"no {half.missing} serves the model {half.served.card.name}"
    if workers:
        return "every worker is draining"
    others = "that runs prompts " if registry.workers else ""
    return f"no worker {others}is connected"


def _worker(worker: Worker) -> dict[str, Any]:
    return {
        "worker_id": worker.worker_id,
        "model": worker.hello.card.name,
        "engine": worker.hello.engine,
        "service": worker.hello.service,
        "stage": worker.hello.stage,
        "phase": worker.phase.value,
        "requests": [rank.requests for rank in worker.ranks],
        "engine_requests": [rank.engine_requests for rank in worker.ranks],
        "engine_kv_tokens": [rank.engine_kv_tokens for rank in worker.ranks],
        "ready": worker.takes_work,
        "unhealthy": worker.unhealthy,
        "kv_events": _kv_events(worker),
        "cached_blocks": [len(rank.blocks) for rank in worker.ranks],
    }


def _kv_events(worker: Worker) -> str:
    """Tells whether the worker's cache is known: "none" where events are not followed, for whatever
    reason.
    """
    if not worker.subscriptions:
        return "none"
    return (
        "current"
        if all(subscription.current for subscription in worker.subscriptions)
        else "catching up"
    )
