"""SGLang counts in files that all of its processes share, where it was told to; they are read here
for Prometheus.
"""

import os
from collections.abc import Iterator, Mapping
from tempfile import mkdtemp
from typing import Any, Final

from protocol.process.own_directory import process_directory

_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""SGLang and prometheus_client are told by this environment variable where the files are."""

_PREFIX: Final = "sglang:"

_PRIORITY: Final = "priority"
"""The label by which SGLang counts wherever its queue is in the order of priorities."""


def count_in_own_files() -> None:
    """Has the engine of this process count in files that no other one has, in the directory that
    the user named or in our own.

    To be called before prometheus_client is imported, in this process or in one of the engine's.
    """
    os.environ[_DIRECTORY] = mkdtemp(
        dir=os.environ.get(_DIRECTORY) or process_directory(), prefix="metrics-"
    )


def sglang_metrics(labels: Mapping[str, str], *, by_priority: bool) -> bytes:
    """Returns SGLang's own `sglang:*` families, collected over all of its processes.

    Args:
        labels: added to each sample that has none of their names.
        by_priority: keeps apart what SGLang counts for each priority.
    Raises:
        OSError, ValueError: the files are gone, or are just being made.
    """
    # decides when it is imported whether values are shared between processes
    from prometheus_client import generate_latest  # noqa: PLC0415
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

    collector: Any = MultiProcessCollector(None)  # pyright: ignore[reportArgumentType]
    registry: Any = _Labelled(collector, labels, by_priority=by_priority)
    return generate_latest(registry)


class _Labelled:
    """A _Labelled is a registry with SGLang's families alone, and further labels on their
    samples.
    """

    def __init__(self, collector: Any, labels: Mapping[str, str], *, by_priority: bool) -> None:
        self._collector = collector
        self._labels = labels
        self._by_priority = by_priority

    def collect(self) -> Iterator[Any]:
        """Yields the families, as generate_latest asks for them."""
        for family in self._collector.collect():
            if not family.name.startswith(_PREFIX):
                continue
            if not self._by_priority:
                family.samples = _of_all_priorities(family)
            for sample in family.samples:
                for label, text in self._labels.items():
                    sample.labels.setdefault(label, text)
            yield family


def _of_all_priorities(family: Any) -> list[Any]:
    """Returns a family's samples without the label of the priority: of a gauge the total that
    SGLang keeps beside its parts, of all else the sum.
    """
    from prometheus_client.samples import Sample  # noqa: PLC0415  # as above

    totals: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for sample in family.samples:
        priority = sample.labels.pop(_PRIORITY, "")
        if not priority or family.type != "gauge":
            key = (sample.name, frozenset(sample.labels.items()))
            totals[key] = totals.get(key, 0.0) + sample.value
    return [Sample(name, dict(labels), total) for (name, labels), total in totals.items()]
