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


def count_in_own_files() -> None:
    """Has the engine of this process count in files that no other one has, in the directory that
    the user named or in our own.

    To be called before prometheus_client is imported, in this process or in one of the engine's.
    """
    os.environ[_DIRECTORY] = mkdtemp(
        dir=os.environ.get(_DIRECTORY) or process_directory(), prefix="metrics-"
    )


def sglang_metrics(labels: Mapping[str, str]) -> bytes:
    """Returns SGLang's own `sglang:*` families, collected over all of its processes.

    Args:
        labels: added to each sample that has none of their names.
    Raises:
        OSError, ValueError: the files are gone, or are just being made.
    """
    # decides when it is imported whether values are shared between processes
    from prometheus_client import generate_latest  # noqa: PLC0415
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

    collector: Any = MultiProcessCollector(None)  # pyright: ignore[reportArgumentType]
    return generate_latest(_Labelled(collector, labels))  # pyright: ignore[reportArgumentType]


class _Labelled:
    """A _Labelled is a registry with SGLang's families alone, and further labels on their
    samples.
    """

    def __init__(self, collector: Any, labels: Mapping[str, str]) -> None:
        self._collector = collector
        self._labels = labels

    def collect(self) -> Iterator[Any]:
        """Yields the families, as generate_latest asks for them."""
        for family in self._collector.collect():
            if not family.name.startswith(_PREFIX):
                continue
            for sample in family.samples:
                for label, text in self._labels.items():
                    sample.labels.setdefault(label, text)
            yield family
