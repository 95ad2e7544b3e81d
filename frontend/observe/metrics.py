"""Keeps the Prometheus metrics of a frontend.

Names that the reference product has too keep its names, so that dashboards carry over.
"""

from typing import Final

from prometheus_client import Counter, Gauge

from frontend.observe.answer_metrics import AnswerMetrics
from frontend.observe.families import Family
from frontend.observe.job_metrics import JobMetrics
from frontend.observe.loss_metrics import LossMetrics
from frontend.observe.media_metrics import MediaMetrics
from frontend.observe.output_metrics import OutputMetrics
from frontend.observe.read_families import Readings
from frontend.observe.recent_requests import RecentRequests
from frontend.observe.request_families import RequestFamilies
from frontend.observe.request_metrics import RequestMetrics
from frontend.observe.request_tally import HistogramBounds
from frontend.observe.router_metrics import RouterMetrics
from frontend.observe.summed_registry import SummedRegistry

PREFIX: Final = "dynamo_frontend"
"""Begins the names of the series that the reference product's frontend has too."""


class FrontendMetrics:
    """FrontendMetrics is the one registry of a process, handed to whoever counts.

    Attributes:
        requests: what requests add up to.
        recent: the accounts of the last ones.
    """

    def __init__(self, bounds: HistogramBounds | None = None, *, prefix: str = PREFIX) -> None:
        self._registry = SummedRegistry()
        self.requests = RequestMetrics(bounds or HistogramBounds())
        self.recent = RecentRequests()
        self._registry.register(RequestFamilies(self.requests, prefix))
        self.router = RouterMetrics(self._registry, self.requests.gap_scale.bounds)
        self.losses = LossMetrics(self._registry, prefix)
        self.answers = AnswerMetrics(self._registry)
        self.media = MediaMetrics(self._registry, prefix)
        self.jobs = JobMetrics(self._registry)
        self.outputs = OutputMetrics(self._registry)
        self.queued_requests = Gauge(
            "kvmesh_frontend_queued_requests",
            "Requests waiting for a worker with room",
            ["model"],
            registry=self._registry,
        )
        self.open_requests = Gauge(
            "kvmesh_frontend_open_requests",
            "Requests being answered, those that run no model included",
            registry=self._registry,
        )
        self.workers = Gauge(
            self._registry.alike("kvmesh_frontend_workers"),
            "Workers connected and ready",
            ["model"],
            registry=self._registry,
        )
        self.malformed_messages = Counter(
            "kvmesh_frontend_malformed_messages_total",
            "Mesh messages refused because they are none",
            registry=self._registry,
        )

    def also_read(self, readings: Readings) -> None:
        """Shows what `readings` gives at every scrape."""
        self._registry.also_read(readings)

    def families(self) -> list[Family]:
        """Returns the metrics as data, as they are now."""
        return self._registry.families()

    async def families_in_turns(self) -> list[Family]:
        """Returns the same, with turns of the loop between."""
        return await self._registry.families_in_turns()
