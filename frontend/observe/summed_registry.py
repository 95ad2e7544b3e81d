"""The metrics of a process become families, and each says where it is declared how it is added up
over several processes.
"""

import asyncio
from collections.abc import Iterator

from prometheus_client import CollectorRegistry

from frontend.observe.families import Family, Rule, Sample
from frontend.observe.read_families import ReadFamilies, Readings


class SummedRegistry(CollectorRegistry):
    """A SummedRegistry knows of each family how it is added up over several processes.

    Families add up, unless `alike` named them, `Gauge(registry.alike("name"), …)`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rules: dict[str, Rule] = {}
        self._readings: list[Readings] = []

    def alike(self, name: str) -> str:
        """Returns the name of a family that says the same in every process, but for moments: the
        largest value counts.
        """
        self._rules[name.removesuffix("_total")] = "max"
        return name

    def also_read(self, readings: Readings) -> None:
        """Shows what `readings` gives at every scrape."""
        self._readings.append(readings)

    def families(self) -> list[Family]:
        """Returns all metrics as they are now."""
        read = ReadFamilies()
        for _ in self._read(read):
            pass
        return [*self._kept(), *read.families()]

    async def families_in_turns(self) -> list[Family]:
        """Returns all metrics, with turns of the loop between those of one worker and another."""
        read = ReadFamilies()
        for _ in self._read(read):
            await asyncio.sleep(0)
        return [*self._kept(), *read.families()]

    def _read(self, read: ReadFamilies) -> Iterator[None]:
        for readings in self._readings:
            for reading in readings():
                if reading is None:
                    yield
                else:
                    read.add(reading)

    def _kept(self) -> list[Family]:
        """Returns what Prometheus' client keeps."""
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
