"""Counts workers that are lost and what becomes of their requests, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Histogram

_MOVE_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)


class LossMetrics:
    """LossMetrics counts losses, moves and refusals as they happen.

    Causes are protocol.losses.LossCause, of moves MoveCause, or "refused" by a worker that was full
    or draining.
    """

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self.workers = Counter(
            "kvmesh_frontend_workers_lost_total",
            "Workers that left, by cause",
            ["cause"],
            registry=registry,
        )
        self.drains = Counter(
            "kvmesh_frontend_worker_drains_total",
            "Times that a worker said it drains",
            registry=registry,
        )
        self._unhealthy = Counter(
            "kvmesh_frontend_worker_health_changes_total",
            "Times that a worker's health changed",
            ["healthy"],
            registry=registry,
        )
        self.migrations = Counter(
            "kvmesh_frontend_migrations_total",
            (
                "Requests whose worker was lost, by why and by what became of them: moved, or an "
                "error's code"
            ),
            ["cause", "outcome"],
            registry=registry,
        )
        self.model_migrations = Counter(
            f"{prefix}_model_migration_total",
            (
                "Requests moved to another worker, before (new_request) or after "
                "(ongoing_request) their first token"
            ),
            ["model", "migration_type"],
            registry=registry,
        )
        self.migration_seconds = Histogram(
            "kvmesh_frontend_migration_seconds",
            "From the loss of a worker to its request's placement elsewhere",
            buckets=_MOVE_S,
            registry=registry,
        )
        self.poison = Counter(
            "kvmesh_frontend_poison_requests_total",
            "Requests given up since engines die of them",
            registry=registry,
        )
        self.twins = Counter(
            "kvmesh_frontend_poison_refusals_total",
            "Requests refused since they are like one of those",
            registry=registry,
        )

    def count_unhealthy(self, unhealthy: bool) -> None:
        """Counts that a worker said that its engine does not answer, or does again."""
        self._unhealthy.labels("false" if unhealthy else "true").inc()
