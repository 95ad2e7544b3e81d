"""The pages /live, /ready and /health say how a frontend is, and why.

/live    the event loop turns. Also while draining: who stops on purpose must not be killed for it.
/ready   send requests here: 503 while draining and while no model has a worker that takes any.
/health  healthy, degraded (served, but something is not as it should be) or unhealthy (nothing can
be served; 503).
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from frontend.fleet.registry import Registry
from frontend.fleet.worker import Worker
from frontend.status.fleet_view import kv_events_of
from frontend.status.verdict import served_models, verdict_on, why_nothing_is_served

Page = tuple[int, dict[str, Any]]
"""A Page is an HTTP status and the object that is sent as JSON."""


def ready_page(registry: Registry, *, draining: bool, now: float) -> Page:
    """Returns the answer to /ready."""
    models = served_models(registry)
    if models and not draining:
        return 200, {"status": "ready", "models": models}
    reasons = ["draining"] if draining else []
    return 503, {
        "status": "not ready",
        "reasons": reasons + ([] if models else [why_nothing_is_served(registry, now)]),
    }


def health_page(
    registry: Registry,
    *,
    draining: bool,
    now: float,
    elsewhere: Mapping[str, Sequence[int]] | None = None,
) -> Page:
    """Returns the answer to /health: the verdict, its reasons, every worker.

    Args:
        elsewhere: unfinished requests of sibling processes by worker id, for each of its ranks;
        what workers tell of them comes later.
    """
    verdict = verdict_on(registry, draining=draining, now=now)
    return 503 if verdict.status == "unhealthy" else 200, {
        "status": verdict.status,
        "reasons": verdict.reasons,
        "workers": [
            _worker(worker, chain((elsewhere or {}).get(worker.worker_id, ()), repeat(0)))
            for worker in registry.workers.values()
        ],
        "loading": [
            {
                "worker_id": loading.worker_id,
                "model": loading.model,
                "phase": loading.phase,
                "elapsed_s": round(loading.elapsed_s, 1),
            }
            for loading in sorted(registry.loading.known(now), key=lambda each: each.worker_id)
        ],
    }


def _worker(worker: Worker, elsewhere: Iterable[int]) -> dict[str, Any]:
    return {
        "worker_id": worker.worker_id,
        "model": worker.hello.card.name,
        "engine": worker.hello.engine,
        "service": worker.hello.service,
        "stage": worker.hello.stage,
        "phase": worker.phase.value,
        "requests": [
            rank.own_requests + max(rank.requests - rank.own_requests, others)
            for rank, others in zip(worker.ranks, elsewhere, strict=False)
        ],
        "engine_requests": [rank.engine_requests for rank in worker.ranks],
        "engine_kv_tokens": [rank.engine_kv_tokens for rank in worker.ranks],
        "ready": worker.takes_work,
        "unhealthy": worker.unhealthy,
        "operated": worker.operated.state,
        "operated_reason": worker.operated.reason,
        "weight_version": worker.operated.weight_version,
        "kv_events": kv_events_of(worker),
        "cached_blocks": [len(rank.blocks) for rank in worker.ranks],
    }
