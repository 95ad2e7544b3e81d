"""Keeps the Prometheus metrics of a frontend.

Names that the reference product has too keep its names, so that dashboards carry over.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from frontend.observe.answer_metrics import AnswerMetrics
from frontend.observe.job_metrics import JobMetrics
from frontend.observe.loss_metrics import LossMetrics
from frontend.observe.media_metrics import MediaMetrics
from frontend.observe.output_metrics import OutputMetrics
from frontend.observe.router_metrics import RouterMetrics


class FrontendMetrics:
    """FrontendMetrics is the one registry of a process, handed to whoever counts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.router = RouterMetrics(self._registry)
        self.losses = LossMetrics(self._registry)
        self.answers = AnswerMetrics(self._registry)
        self.media = MediaMetrics(self._registry)
        self.jobs = JobMetrics(self._registry)
        self.outputs = OutputMetrics(self._registry)
        self.queued_requests = Gauge(
            "dynamo_frontend_queued_requests",
            "Requests waiting for a worker with room",
            registry=self._registry,
        )
        self.workers = Gauge(
            "kvmesh_frontend_workers",
            "Workers connected and ready",
            ["model"],
            registry=self._registry,
        )
        self.malformed_messages = Counter(
            "kvmesh_frontend_malformed_messages_total",
            "Mesh messages refused because they are none",
            registry=self._registry,
        )

    def exposition(self) -> bytes:
        """Returns the metrics in the text format that Prometheus scrapes."""
        return generate_latest(self._registry)
