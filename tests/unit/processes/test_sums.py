"""Metrics of several processes as those of one."""

from typing import Any

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from frontend.observe.families import Family, exposition
from frontend.observe.summed_registry import SummedRegistry
from frontend.processes.sums import Sums


class Process:
    """What a process counts."""

    def __init__(self, *, draining: float = 0, served: int = 0) -> None:
        self.registry = SummedRegistry()
        registry: Any = self.registry
        self.requests = Counter("requests_total", "…", ["model"], registry=registry)
        self.seconds = Histogram("seconds", "…", buckets=(1, 2), registry=registry)
        self.inflight = Gauge("inflight", "…", registry=registry)
        self.draining = Gauge(self.registry.alike("draining"), "…", registry=registry)
        self.per_worker = Counter("sent_total", "…", ["worker_id"], registry=registry)
        self.own = Counter("own_total", "…", ["router_id"], registry=registry)
        self.draining.set(draining)
        for _ in range(served):
            self.requests.labels("demo").inc()
            self.seconds.observe(1.5)

    def told(self) -> list[Family]:
        """What it tells."""
        return self.registry.families()


def value(sums: Sums, name: str, **labels: str) -> float | None:
    """A sample of the sum, as somebody reads it who scrapes."""
    for family in text_string_to_metric_families(exposition(sums.total()).decode()):
        for sample in family.samples:
            if (sample.name, sample.labels) == (name, labels):
                return sample.value
    return None


def test_counters_histograms_and_gauges_add_up_and_what_all_know_does_not() -> None:
    sums, one, other = Sums(), Process(served=3, draining=1), Process(served=4, draining=1)
    one.inflight.set(2)
    other.inflight.set(5)
    sums.note(0, one.told())
    sums.note(1, other.told())
    assert value(sums, "requests_total", model="demo") == 7
    assert value(sums, "seconds_bucket", le="1.0") == 0
    assert value(sums, "seconds_bucket", le="2.0") == 7
    assert value(sums, "seconds_sum") == pytest.approx(10.5)
    assert value(sums, "inflight") == 7
    assert value(sums, "draining") == 1


def test_no_counter_falls_when_a_process_ends() -> None:
    sums, one, other = Sums(), Process(served=3), Process(served=4)
    one.inflight.set(2)
    sums.note(0, one.told())
    sums.note(1, other.told())
    sums.ended(0)
    assert value(sums, "requests_total", model="demo") == 7
    assert value(sums, "inflight") == 0
    sums.note(0, Process(served=1).told())
    assert value(sums, "requests_total", model="demo") == 8
    sums.ended(0)
    sums.ended(1)
    assert value(sums, "requests_total", model="demo") == 8


def test_series_of_workers_that_left_go_away() -> None:
    sums, one, other = Sums(), Process(), Process()
    one.per_worker.labels("w0").inc(2)
    other.per_worker.labels("w0").inc(3)
    one.per_worker.labels("gone").inc()
    sums.note(0, one.told())
    sums.note(1, other.told())
    sums.ended(0)
    assert value(sums, "sent_total", worker_id="w0") == 5
    assert value(sums, "sent_total", worker_id="gone") is None


def test_series_of_one_process_go_away_with_it() -> None:
    sums, one, other = Sums(), Process(), Process()
    one.own.labels("h-1").inc(2)
    other.own.labels("h-2").inc(3)
    sums.note(0, one.told())
    sums.note(1, other.told())
    assert (
        value(sums, "own_total", router_id="h-1"),
        value(sums, "own_total", router_id="h-2"),
    ) == (
        2,
        3,
    )
    sums.ended(0)
    assert value(sums, "own_total", router_id="h-1") is None
    assert value(sums, "own_total", router_id="h-2") == 3
