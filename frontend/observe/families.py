"""Metrics of several processes are told as data, added up, and written as text."""

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

Rule = Literal["sum", "max", "min"]
"""Says how one value is made of those of several processes.

"sum" is for what each process has a part of; "max" for what all know alike, as the number of
workers; "min" for what holds only where it holds for all.
"""

CREATED: Final = "_created"
"""Ends the names of samples that say when a process began to count."""

WORKER: Final = "worker_id"
"""Is the label of series that go away with a worker."""

PROCESS: Final = "router_id"
"""Is the label of series that one process alone has, and that go away with it."""

Labels = tuple[tuple[str, str], ...]


class Sample(Struct, frozen=True, array_like=True, gc=False):
    """A Sample is one number of a family."""

    name: str
    labels: Labels
    value: float


class Family(Struct, frozen=True, array_like=True):
    """A Family is what goes by one name, help and type."""

    name: str
    help: str
    kind: str
    rule: Rule
    samples: list[Sample]

    @property
    def counts(self) -> bool:
        """Tells whether its numbers only grow, and each process has a part of them."""
        return self.rule == "sum" and self.kind != "gauge"


class _Told(CollectorRegistry):
    """A _Told is a registry of families that are told."""

    def __init__(self, families: Iterable[Family]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.help, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, dict(sample.labels), sample.value)
            yield metric


def exposition(families: Iterable[Family]) -> bytes:
    """Returns families in the text format that Prometheus scrapes."""
    return generate_latest(_Told(families))
