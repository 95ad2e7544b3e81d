"""Whom it is worth waiting for, while nobody serves a model."""

from collections.abc import Set as AbstractSet
from typing import NamedTuple

from frontend.fleet.model_entry import RUNNING, ModelEntry
from frontend.fleet.registry import Registry
from frontend.fleet.worker import Phase
from protocol.membership import Stage


class Hope(NamedTuple):
    """A Hope is a worker that takes nothing now, and may before long."""

    worker_id: str
    adapters: AbstractSet[str] | None
    """Names the LoRA adapters that requests to the worker may name; None while nobody knows."""
    stage: Stage | None
    """Says what the worker does of a request; None while nobody knows."""


def hopes(registry: Registry, entry: ModelEntry, now: float, *, patient: bool) -> list[Hope]:
    """Returns the workers of a model that take nothing now, and may before long.

    Such a one joins, does not answer at the moment, was withdrawn by its operator for a while, or
    was lost a moment ago and may be back. Who is `patient`, since it is being served already, waits
    longer for it, and also for one whose engine is only loading.
    """
    name = entry.served.card.name
    generations = registry.generations(name)
    if entry not in generations:
        return []
    absent = [
        Hope(worker.worker_id, worker.adapters, worker.hello.stage)
        for worker in registry.workers.values()
        if worker.digest == entry.digest
        and (
            worker.phase is Phase.JOINING
            or worker.is_silent_for_a_moment(now, patient=patient)
            or worker.is_back_soon(now, patient=patient)
        )
    ]
    missed = [
        Hope(missed.worker_id, missed.adapters, missed.stage)
        for missed in registry.missed
        if missed.digest == entry.digest
    ]
    known = [hope for hope in absent + missed if hope.stage in (entry.lacks or RUNNING)]
    if patient and entry is generations[-1]:
        found = [loading for loading in registry.loading.known(now) if loading.model == name]
        known += [Hope(loading.worker_id, None, None) for loading in found]
    return known


def may_be_back(registry: Registry, entry: ModelEntry, now: float) -> bool:
    """Returns whether it is only for a moment that nobody serves the model, as far as can be
    told.
    """
    return bool(hopes(registry, entry, now, patient=False))
