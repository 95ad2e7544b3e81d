"""Counts the pictures and videos that workers made, for Prometheus."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from protocol.diffusion import Diffused

_MADE_S: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000)
_COUNTS: Final = (1, 2, 3, 4, 6, 8, 10)


class OutputMetrics:
    """OutputMetrics counts what each request had made once, at its end."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._outputs = Counter(
            "kvmesh_frontend_outputs_total",
            "Pictures and videos made",
            ["model", "format"],
            registry=registry,
        )
        self._per_request = Histogram(
            "kvmesh_frontend_outputs_per_request",
            "Pictures and videos that one request had made",
            ["model"],
            buckets=_COUNTS,
            registry=registry,
        )
        self._bytes = Counter(
            "kvmesh_frontend_output_bytes_total",
            "Bytes of what was made",
            ["model"],
            registry=registry,
        )
        self._seconds = Histogram(
            "kvmesh_frontend_output_seconds",
            "Time that a worker took for what one request had made, from its begin",
            ["model"],
            buckets=_MADE_S,
            registry=registry,
        )

    def note(self, model: str, made: Diffused) -> None:
        """Counts what one request had made of a model that is served."""
        for output in made.outputs:
            self._outputs.labels(model, output.format).inc()
        self._per_request.labels(model).observe(len(made.outputs))
        self._bytes.labels(model).inc(sum(output.size_bytes for output in made.outputs))
        self._seconds.labels(model).observe(made.made_us / 1_000_000)
