"""Judges how a frontend is, and says why."""

from dataclasses import dataclass

from frontend.fleet.encoders import encodes
from frontend.fleet.registry import Registry
from frontend.fleet.worker import Phase


@dataclass(frozen=True, slots=True)
class Verdict:
    """A Verdict says how a frontend is.

    Attributes:
        status: healthy, degraded (served, but something is not as it should be) or unhealthy
        (nothing can be served).
        reasons: why it is not healthy, in words.
    """

    status: str
    reasons: list[str]


def verdict_on(registry: Registry, *, draining: bool, now: float) -> Verdict:
    """Returns how the frontend is whose workers these are."""
    served = bool(served_models(registry))
    reasons = ["this frontend is draining"] if draining else []
    if not served:
        reasons.append(why_nothing_is_served(registry, now))
    for worker in registry.workers.values():
        if worker.unhealthy:
            reasons.append(f"worker {worker.worker_id} is unhealthy: {worker.unhealthy}")
        elif worker.phase is Phase.DRAINING:
            reasons.append(f"worker {worker.worker_id} is draining")
        elif worker.operated.state:
            reasons.append(f"worker {worker.worker_id} takes no requests: {worker.operated.reason}")
    return Verdict("unhealthy" if not served else "degraded" if reasons else "healthy", reasons)


def served_models(registry: Registry) -> list[str]:
    """Returns the names of the models that requests can run on now."""
    return [entry.served.card.name for entry in registry.available() if entry.ready]


def why_nothing_is_served(registry: Registry, now: float) -> str:
    """Says why no model can be asked, where none can."""
    workers = [each for each in registry.workers.values() if not encodes(each.hello)]
    if any(worker.unhealthy or worker.operated.state for worker in workers):
        return (
            "no worker is healthy"
            if any(worker.unhealthy for worker in workers)
            else "the operator of a worker keeps it from requests for a while"
        )
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
