"""Readings are told as Prometheus' own client would tell them."""

import asyncio
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from frontend.observe.buckets import Buckets
from frontend.observe.families import exposition
from frontend.observe.read_families import PAUSE, Reading
from frontend.observe.summed_registry import SummedRegistry


def _seconds() -> Buckets:
    seconds = Buckets((0.001, 0.5, 10.0))
    for value in (0.0005, 0.5, 0.6, 11.0, 11.5):
        seconds.add(value)
    return seconds


def _readings() -> Iterator[Reading | None]:
    for worker in ("a", 'b"\\\n'):
        yield PAUSE
        yield "asked", "How often", "counter", 3, {"worker": worker}
        yield "held", "What is held", "gauge max", 0.5, {"worker": worker, "rank": "0"}
        yield "took_seconds", "How long", "histogram", _seconds(), {"worker": worker}


class _Theirs:
    def collect(self) -> Iterator[Metric]:
        asked = CounterMetricFamily("asked", "How often", labels=["worker"])
        held = GaugeMetricFamily("held", "What is held", labels=["worker", "rank"])
        took = HistogramMetricFamily("took_seconds", "How long", labels=["worker"])
        seconds = _seconds()
        for worker in ("a", 'b"\\\n'):
            asked.add_metric([worker], 3)
            held.add_metric([worker, "0"], 0.5)
            took.add_metric([worker], seconds.cumulated(), seconds.total)
        yield from (asked, held, took)


def test_readings_are_told_as_the_library_tells_them() -> None:
    ours, theirs = SummedRegistry(), CollectorRegistry()
    ours.also_read(_readings)
    theirs.register(_Theirs())  # pyright: ignore[reportArgumentType] - a Collector by its method
    assert exposition(ours.families()) == generate_latest(theirs)
    assert [family.rule for family in ours.families()] == ["sum", "max", "sum"]


async def test_others_have_their_turn_at_each_pause() -> None:
    registry = SummedRegistry()
    registry.also_read(_readings)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    assert await registry.families_in_turns() == registry.families()
    counting.cancel()
    assert turns == 2
