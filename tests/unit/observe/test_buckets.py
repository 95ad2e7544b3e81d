"""Histograms of requests: laid out as the reference product's, exact at their bounds."""

import random
from statistics import quantiles

import pytest
from prometheus_client import CollectorRegistry, Histogram

from frontend.observe.buckets import Buckets, GapScale, quantile, spread

TTFT = spread(0.001, 480.0, 18)
ITL = spread(0.001, 2.0, 13)


def test_bounds_are_those_of_the_reference_product() -> None:
    assert TTFT[:6] == (0.0, 0.0022, 0.0047, 0.01, 0.022, 0.047)
    assert (len(TTFT), TTFT[-1]) == (18, 480.0)
    assert spread(50.0, 32_000.0, 10)[-1] == 32_000.0
    assert spread(1.0, 2.0, 1) == (0.0,)
    many = spread(1.0, 1.1, 400)
    assert list(many) == sorted(set(many))


def test_values_are_counted_as_the_prometheus_client_counts_them() -> None:
    theirs = Histogram("x", "x", buckets=TTFT, registry=CollectorRegistry())
    ours, chance = Buckets(TTFT), random.Random(5)
    for value in [*TTFT, *(chance.expovariate(1) for _ in range(500))]:
        theirs.observe(value)
        ours.add(value)
    samples = {
        (sample.name, sample.labels.get("le")): sample.value
        for family in theirs.collect()
        for sample in family.samples
    }
    assert {("x_bucket", bound): count for bound, count in ours.cumulated()} == {
        key: value for key, value in samples.items() if key[0] == "x_bucket"
    }
    assert ours.total == pytest.approx(samples["x_sum", None])
    assert ours.count == samples["x_count", None]


def test_gaps_keep_their_place_in_the_histogram_and_tell_quantiles() -> None:
    scale, buckets, exact, chance = GapScale(ITL), Buckets(ITL), Buckets(ITL), random.Random(7)
    values = [chance.uniform(0.0002, 3.0) for _ in range(2_000)] + [500.0]
    gaps: dict[int, int] = {}
    told = Buckets(scale.bounds)
    for value in values:
        exact.add(value)
        told.add(value)
    gaps = {index: count for index, count in enumerate(told.counts) if count}
    scale.count_into(buckets, gaps, sum(values))
    assert (buckets.counts, buckets.total) == (exact.counts, pytest.approx(exact.total))
    p50_s, p99_s = scale.quantiles_s(gaps, 0.5, 0.99)
    cuts = quantiles(values, n=100)
    assert cuts[49] <= p50_s <= 1.15 * cuts[49]
    assert cuts[98] <= p99_s <= 1.15 * cuts[98]
    assert scale.quantiles_s({}, 0.5, 0.99) == [0.0, 0.0]
    assert scale.quantiles_s({len(scale.bounds): 1}, 0.5) == [scale.bounds[-1]]


def test_quantiles_lie_between_the_bounds() -> None:
    assert quantile((1.0, 2.0), (0, 0, 0), 0.5) is None
    assert quantile((1.0, 2.0), (2, 2, 0), 0.75) == 1.5
    assert quantile((1.0, 2.0), (0, 0, 3), 0.5) == 2.0
