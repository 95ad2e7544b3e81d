"""What the health pages say of fleets in every state."""

from types import SimpleNamespace
from typing import cast

import pytest

from frontend.api.pages.health import health_page, ready_page
from frontend.fleet.registry import Registry
from frontend.fleet.worker import Phase, Worker
from frontend.models.served import ServedModel
from frontend.routing.admission import AdmissionQueue
from kv_events.index import BlockBudget
from protocol.membership import Capacity, Hello, Loading, ModelCard


def registry_of(card: ModelCard, *workers: tuple[Phase, str]) -> Registry:
    """A registry of workers in these phases, with why each is unhealthy."""
    registry = Registry(lambda: cast("AdmissionQueue", SimpleNamespace(room=lambda: None)))
    capacity = Capacity(dp_size=1, kv_tokens=1_000, page_size_tokens=10, requests_running_max=1)
    for number, (phase, unhealthy) in enumerate(workers):
        hello = Hello(
            worker_id=f"w{number}",
            epoch=1,
            service="text",
            endpoint="dyn://n.c.e",
            card=card,
            capacity=capacity,
            credit_requests=1,
            engine="sim",
        )
        worker = Worker(b"%d" % number, hello, 0.0, BlockBudget(100))
        registry.connect(worker)
        worker.phase, worker.unhealthy = phase, unhealthy
        if phase is not Phase.JOINING:
            registry.serve(worker, ServedModel(card, None, {}))  # type: ignore[arg-type]
    return registry


READY, JOINING, DRAINING, ILL = (
    (Phase.READY, ""),
    (Phase.JOINING, ""),
    (Phase.DRAINING, ""),
    (Phase.READY, "no canary came back"),
)


@pytest.mark.parametrize(
    ("workers", "draining", "ready", "health", "status", "reasons"),
    [
        ([READY, READY], False, 200, 200, "healthy", []),
        ([READY, READY], True, 503, 200, "degraded", ["this frontend is draining"]),
        ([READY, DRAINING], False, 200, 200, "degraded", ["worker w1 is draining"]),
        (
            [READY, ILL],
            False,
            200,
            200,
            "degraded",
            ["worker w1 is unhealthy: no canary came back"],
        ),
        (
            [ILL],
            False,
            503,
            503,
            "unhealthy",
            ["no worker is healthy", "worker w0 is unhealthy: no canary came back"],
        ),
        (
            [DRAINING],
            False,
            503,
            503,
            "unhealthy",
            ["every worker is draining", "worker w0 is draining"],
        ),
        ([JOINING], False, 503, 503, "unhealthy", ["a worker is joining"]),
        ([], True, 503, 503, "unhealthy", ["this frontend is draining", "no worker is connected"]),
    ],
)
def test_pages_tell_the_truth_and_why(
    card: ModelCard,
    workers: list[tuple[Phase, str]],
    draining: bool,
    ready: int,
    health: int,
    status: str,
    reasons: list[str],
) -> None:
    registry = registry_of(card, *workers)
    assert ready_page(registry, draining=draining, now=0)[0] == ready
    code, page = health_page(registry, draining=draining, now=0)
    assert (code, page["status"], page["reasons"]) == (health, status, reasons)
    assert [(worker["ready"], worker["unhealthy"]) for worker in page["workers"]] == [
        (worker == READY, worker[1]) for worker in workers
    ]


def test_an_unready_frontend_says_what_it_waits_for(card: ModelCard) -> None:
    registry = registry_of(card)
    registry.loading.note(Loading(worker_id="w", model="m", phase="weights", elapsed_s=1.0), 0.0)
    assert ready_page(registry, draining=False, now=1)[1] == {
        "status": "not ready",
        "reasons": ["a worker is loading its model"],
    }
    assert ready_page(registry, draining=True, now=100)[1]["reasons"] == [
        "draining",
        "no worker is connected",
    ]
    assert ready_page(registry_of(card, READY), draining=True, now=0)[1]["reasons"] == ["draining"]
