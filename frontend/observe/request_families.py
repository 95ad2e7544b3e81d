"""Shows Prometheus what requests were and took, under the reference product's names.

Nothing of it is counted while requests run: what ended is read from the sums of their records, and
what is open is looked at, when Prometheus asks.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from frontend.observe.error_types import ERROR_TYPES, GONE, REJECTIONS, error_type_of
from frontend.observe.request_metrics import OPEN_AT, OpenRequest, RequestMetrics
from frontend.observe.request_tally import HISTOGRAMS, STAGES

Sums = Counter[tuple[str, ...]]


class RequestFamilies(Collector):
    """A RequestFamilies writes down the sums of requests.

    Args:
        prefix: what the reference product's names begin with.
    """

    def __init__(self, requests: RequestMetrics, prefix: str) -> None:
        self._requests = requests
        self._prefix = prefix
        self._started: dict[tuple[str, ...], int] = {}
        """Maps labels to the most that was told for them: a counter never goes down."""

    def describe(self) -> Iterable[Metric]:
        """Returns nothing: registering must not ask for values before there are any."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yields all families, as they are now."""
        opened = list(self._requests.open())
        yield from self._outcomes()
        yield from self._turned_away()
        yield from self._open(opened)
        tokens = Sums({(k,): v for k, v in self._requests.output_tokens(opened).items()})
        yield self._counter("output_tokens", "Tokens generated, as they come", ["model"], tokens)
        yield from self._histograms()

    def _outcomes(self) -> Iterator[Metric]:
        by_type, by_code, failures = Sums(), Sums(), Sums()
        for (model, endpoint, streams, code), count in self._requests.ended.items():
            status = "error" if code else "success"
            by_type[model, endpoint, _kind(streams), status, error_type_of(code)] += count
            if code:
                by_code[model, endpoint, code] += count
                told = ERROR_TYPES.get(code, ERROR_TYPES["internal_error"])
                failures[told.failure_class, told.reason] += count
        yield self._counter(
            "requests",
            "Requests answered, by how they ended",
            ["model", "endpoint", "request_type", "status", "error_type"],
            by_type,
        )
        yield self._counter("failures", "Requests that failed", ["class", "reason"], failures)
        yield _counter(
            "kvmesh_frontend_request_errors",
            "Requests that ended with an error, by its code",
            ["model", "endpoint", "code"],
            by_code,
        )
        yield _counter(
            "kvmesh_frontend_other_requests",
            "Requests that run no model, by how they ended; code is that of an error",
            ["endpoint", "code"],
            Sums(self._requests.others),
        )

    def _turned_away(self) -> Iterator[Metric]:
        gone, rejected, reasons = Sums(), Sums(), Sums()
        for (model, endpoint, streams, code), count in self._requests.ended.items():
            if code == GONE:
                gone[model, endpoint, _kind(streams)] += count
            elif code in REJECTIONS:
                rejected[model, endpoint] += count
                reasons[endpoint, code] += count
        yield self._counter(
            "model_cancellation",
            "Requests whose client left before their end; model is empty if it had not been said "
            "yet, or is none of ours",
            ["model", "endpoint", "request_type"],
            gone,
        )
        yield self._counter(
            "model_rejection", "Requests turned away, by model", ["model", "endpoint"], rejected
        )
        yield _counter(
            "kvmesh_frontend_rejections",
            "Requests turned away, by the code of the error",
            ["endpoint", "reason"],
            reasons,
        )
        yield self._gauge(
            "disconnected_clients",
            "Clients that left before their answer's end, since the frontend started",
            [],
            Sums({(): gone.total()}),
        )

    def _open(self, opened: Sequence[OpenRequest]) -> Iterator[Metric]:
        started, active, queued = Sums(), Sums(), Sums()
        stages = Sums(dict.fromkeys(OPEN_AT, 0))
        for model in self._requests.tallies:
            active[model,] = queued[model,] = 0
        for (model, endpoint, streams, _), count in self._requests.ended.items():
            started[model, endpoint, _kind(streams)] += count
        for each in opened:
            active[each.model,] += 1
            queued[each.model,] += not each.begun
            stages[each.at] += 1
            if each.model:  # until then it may yet turn out to be another one's
                started[each.model, each.endpoint, _kind(each.streams)] += 1
        for labels, count in started.items():
            started[labels] = self._started[labels] = max(count, self._started.get(labels, 0))
        yield self._counter(
            "requests_started",
            "Requests begun: those that ended, and those that are being answered",
            ["model", "endpoint", "request_type"],
            started,
        )
        being = "Requests being answered, from their coming to the end of their answer"
        yield self._gauge("inflight_requests", being, ["model"], active)
        yield self._gauge("active_requests", being, ["model"], active)
        yield self._gauge(
            "queued_requests",
            "Of these, those that wait, or whose prompt is computed, as far as it is told",
            ["model"],
            queued,
        )
        yield self._gauge(
            "stage_requests",
            "Requests being answered, by what they are at, and by leg where they have two",
            ["stage", "phase"],
            stages,
        )

    def _histograms(self) -> Iterator[Metric]:
        tallies = self._requests.tallies
        for name, help_text, place in HISTOGRAMS:
            family = HistogramMetricFamily(f"{self._prefix}_{name}", help_text, labels=["model"])
            for model, tally in tallies.items():
                buckets = place(tally)
                family.add_metric([model], buckets.cumulated(), buckets.total)
            yield family
        family = HistogramMetricFamily(
            f"{self._prefix}_stage_duration_seconds",
            "preprocess: until the prompt is tokenized; route: until it is sent to a worker, the "
            "wait for room included; prefill: until the first token; decode: until the last one",
            labels=["model", "stage"],
        )
        for model, tally in tallies.items():
            for stage, place in STAGES:
                buckets = place(tally)
                family.add_metric([model, stage], buckets.cumulated(), buckets.total)
        yield family
        family = HistogramMetricFamily(
            f"{self._prefix}_embedding_latency_seconds",
            "From the coming of texts to embed to the end of the answer",
            labels=["model"],
        )
        for model, tally in tallies.items():
            if tally.embedding.count:
                family.add_metric([model], tally.embedding.cumulated(), tally.embedding.total)
        yield family
        for name, help_text, buckets in self._requests.timed():
            family = HistogramMetricFamily(f"{self._prefix}_{name}", help_text)
            family.add_metric([], buckets.cumulated(), buckets.total)
            yield family

    def _counter(self, name: str, help_text: str, labels: Sequence[str], sums: Sums) -> Metric:
        return _counter(f"{self._prefix}_{name}", help_text, labels, sums)

    def _gauge(self, name: str, help_text: str, labels: Sequence[str], sums: Sums) -> Metric:
        family = GaugeMetricFamily(f"{self._prefix}_{name}", help_text, labels=labels)
        for values, count in sums.items():
            family.add_metric(values, count)
        return family


def _counter(name: str, help_text: str, labels: Sequence[str], sums: Sums) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=labels)
    for values, count in sums.items():
        family.add_metric(values, count)
    return family


def _kind(streams: bool) -> str:
    return "stream" if streams else "unary"
