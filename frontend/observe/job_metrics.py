"""Counts jobs, which are made while nobody waits for them, for Prometheus."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_JOB_S: Final = (1, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400)


class JobMetrics:
    """JobMetrics counts each job at the frontend that began it, once it has ended.

    Attributes:
        watched: to be set to how many have not.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.watched = Gauge(
            "kvmesh_frontend_jobs",
            "Jobs of videos that were begun here and go on",
            registry=registry,
        )
        self._ended = Counter(
            "kvmesh_frontend_jobs_ended_total",
            "Jobs that were begun here, by how they ended: completed, or an error's code",
            ["model", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "kvmesh_frontend_job_seconds",
            "From the request for a job to its completion",
            ["model"],
            buckets=_JOB_S,
            registry=registry,
        )

    def note(self, model: str, outcome: str, took_s: float) -> None:
        """Counts a job of a model that is served here."""
        self._ended.labels(model, outcome).inc()
        if outcome == "completed":
            self._seconds.labels(model).observe(took_s)
