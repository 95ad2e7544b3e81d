"""Counts clients that do not read, and shows a frontend's leaving and tasks, for Prometheus."""

import asyncio

from prometheus_client import Counter, Gauge

from frontend.observe.summed_registry import SummedRegistry


class AnswerMetrics:
    """AnswerMetrics says what of answers no record of a request does."""

    def __init__(self, registry: SummedRegistry) -> None:
        self.slow_readers = Counter(
            "kvmesh_frontend_slow_readers_total",
            "Connections cut off since the client did not read",
            registry=registry,
        )
        self.draining = Gauge(
            registry.alike("kvmesh_frontend_draining"),
            "1 from the signal to stop on",
            registry=registry,
        )
        self._tasks = Gauge(
            "kvmesh_frontend_tasks",
            "Tasks of the event loop, the scrape's own included",
            registry=registry,
        )

    def read_tasks(self) -> None:
        """Reads how many tasks the event loop has; to be called at every scrape, on the loop."""
        self._tasks.set(len(asyncio.all_tasks()))
