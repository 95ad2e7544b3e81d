"""Counts what the router decides and what comes of it, for Prometheus.

What others count anyway is read when Prometheus asks, so it costs requests nothing.
"""

from collections.abc import Iterable, Sequence

from prometheus_client import Histogram

from frontend.observe.buckets import Buckets
from frontend.observe.decision_parts import DecisionParts
from frontend.observe.media_metrics import EncodingMetrics
from frontend.observe.read_families import Reading
from frontend.observe.summed_registry import SummedRegistry
from frontend.observe.worker_tally import FinishedStream, WorkerTally

_DECISION_S = (10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 10e-3)
_QUEUE_S = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class RouterMetrics:
    """RouterMetrics counts decisions as they happen, what they expected, and what came of it.

    Args:
        gap_bounds: by which streams count the gaps between their tokens, in seconds.
    """

    def __init__(self, registry: SummedRegistry, gap_bounds: Sequence[float]) -> None:
        self.gap_bounds = gap_bounds
        self.encoding = EncodingMetrics(registry)
        self.decisions: dict[str, int] = {}
        """Counts requests placed on a rank, by the router's mode."""
        self.decision_s = Buckets(_DECISION_S)
        """Counts how long choices of a rank took, hashing included."""
        self.decision_parts = DecisionParts()
        self.queue_s = Buckets(_QUEUE_S)
        """Counts how long requests waited for a rank with room."""
        self._prompt_tokens = self._predicted_tokens = self._best_tokens = self._cached_tokens = 0
        registry.also_read(self._counted)
        self.event_lag_seconds = Histogram(
            "kvmesh_kv_event_lag_seconds",
            "From the engine's publishing of KV events to their use here",
            buckets=_LAG_S,
            registry=registry,
        )

    def count_finished(self, stream: FinishedStream, tally: WorkerTally) -> None:
        """Counts, of a request that ended, what was expected of the cache, and what the engine
        found.

        Args:
            tally: of the worker that it ended on.
        """
        finished, placement = stream.finished, stream.prefill_placement
        assert finished is not None, "a request that did not end so"
        tally.note(stream)
        self._prompt_tokens += finished.prompt_tokens
        self._predicted_tokens += placement.cached_tokens
        self._best_tokens += placement.best_cached_tokens
        self._cached_tokens += finished.cached_tokens

    def count_decision(self, mode: str, seconds: float) -> None:
        """Counts that a rank was chosen for a request, and how long that took."""
        self.decision_s.add(seconds)
        self.decisions[mode] = self.decisions.get(mode, 0) + 1

    def _counted(self) -> Iterable[Reading]:
        """Yields what is counted here: an addition each time, where a metric of Prometheus' client
        takes a lock and a microsecond.
        """
        for mode, count in self.decisions.items():
            yield (
                "kvmesh_router_decisions",
                "Requests placed on a rank",
                "counter",
                count,
                {"mode": mode},
            )
        yield (
            "kvmesh_router_queue_seconds",
            "Time that a placed request waited for a rank with room",
            "histogram",
            self.queue_s,
            {},
        )
        for name, told, tokens in (
            ("prompt", "Prompt tokens of requests that ended", self._prompt_tokens),
            (
                "predicted_cached",
                "Of these, expected in the chosen rank's cache",
                self._predicted_tokens,
            ),
            ("best_cached", "Of these, held by the rank that held most of them", self._best_tokens),
            ("cached", "Of these, found there by the engine", self._cached_tokens),
        ):
            yield f"kvmesh_router_{name}_tokens", told, "counter", tokens, {}
