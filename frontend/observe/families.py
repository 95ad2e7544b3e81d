"""Metrics of several processes are told as data, added up, and written as text.

How a family is added up is said where it is declared: see SummedRegistry.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from msgspec import Struct, convert
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


class Sample(Struct, frozen=True, array_like=True):
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


class SummedRegistry(CollectorRegistry):
    """A SummedRegistry knows of each family how it is added up over several processes.

    Families add up, unless `alike` named them, `Gauge(registry.alike("name"), …)`, or `note_rule`
    was told otherwise.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rules: dict[str, Rule] = {}

    def alike(self, name: str) -> str:
        """Returns the name of a family that says the same in every process, but for moments: the
        largest value counts.
        """
        self.note_rule(name, "max")
        return name

    def note_rule(self, name: str, rule: str) -> None:
        """Notes how a family is added up."""
        self._rules[name.removesuffix("_total")] = convert(rule, Rule)

    def families(self) -> list[Family]:
        """Returns all metrics as they are now."""
        return [
            Family(
                metric.name,
                metric.documentation,
                metric.type,
                self._rules.get(metric.name, "sum"),
                [
                    Sample(sample.name, tuple(sample.labels.items()), sample.value)
                    for sample in metric.samples
                ],
            )
            for metric in self.collect()
        ]


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
