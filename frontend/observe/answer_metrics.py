"""Counts how requests end, clients that leave or do not read, and the frontend's own leaving, for
Prometheus.
"""

import asyncio
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from protocol.errors import ClientGone, MeshError, NoWorker, Overloaded, PoisonRequest, ShuttingDown

REJECTIONS: Final = (NoWorker, Overloaded, PoisonRequest, ShuttingDown)
"""Lists the errors that turn away a request with which nothing is wrong in itself."""


class AnswerMetrics:
    """AnswerMetrics counts each request once, when its answer has ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "dynamo_frontend_requests_total",
            "Requests answered, by endpoint, kind and outcome",
            ["endpoint", "status", "error_type"],
            registry=registry,
        )
        self.inflight = Gauge(
            "dynamo_frontend_inflight_requests", "Requests being answered", registry=registry
        )
        self._cancellations = Counter(
            "dynamo_frontend_model_cancellation_total",
            (
                "Requests whose client left before their end; model is empty if it had not been "
                "said yet, or is none of ours"
            ),
            ["model", "endpoint", "request_type"],
            registry=registry,
        )
        self._model_rejections = Counter(
            "dynamo_frontend_model_rejection_total",
            "Requests turned away, by model",
            ["model", "endpoint"],
            registry=registry,
        )
        self._rejections = Counter(
            "kvmesh_frontend_rejections_total",
            "Requests turned away, by the code of the error",
            ["endpoint", "reason"],
            registry=registry,
        )
        self.slow_readers = Counter(
            "kvmesh_frontend_slow_readers_total",
            "Connections cut off since the client did not read",
            registry=registry,
        )
        self.draining = Gauge(
            "kvmesh_frontend_draining", "1 from the signal to stop on", registry=registry
        )
        self._tasks = Gauge(
            "kvmesh_frontend_tasks",
            "Tasks of the event loop, the scrape's own included",
            registry=registry,
        )

    def count(self, endpoint: str, error: MeshError | None, *, model: str, streams: bool) -> None:
        """Counts a request that ended.

        `model` is one of ours or empty: a label must not take what clients make up.
        """
        self.requests.labels(
            endpoint, "error" if error else "success", error.code if error else ""
        ).inc()
        if isinstance(error, ClientGone):
            self._cancellations.labels(model, endpoint, "stream" if streams else "unary").inc()
        elif isinstance(error, REJECTIONS):
            self._model_rejections.labels(model, endpoint).inc()
            self._rejections.labels(endpoint, error.code).inc()

    def read_tasks(self) -> None:
        """Reads how many tasks the event loop has; to be called at every scrape, on the loop."""
        self._tasks.set(len(asyncio.all_tasks()))
