"""docs/series.md, made of what a mesh shows on its pages of metrics."""

import re
from collections.abc import Iterator
from typing import Any, Final, cast

from frontend.observe.metrics import FrontendMetrics
from manual.markdown import cell, code, table
from manual.mesh import Scraped

_INTRODUCTION: Final = """\
# All series

Made by `python -m manual` from what a frontend and a worker show. What they mean together, and the
buckets of histograms: [metrics](metrics.md).
"""

_WORKER: Final = """\
A worker on SGLang with `--enable-metrics` shows SGLang's `sglang:*` too, each with the worker's
labels.
"""

_LABEL: Final = re.compile(r'(?:[{,])(\w+)="')
_OF_FORM: Final = frozenset(("le", "quantile"))
"""Are the labels that the form of histograms and summaries has."""


def page(shown: Scraped) -> str:
    """Returns the whole of docs/series.md."""
    declared = _declared_labels()
    head = ("series", "kind", "labels", "")
    return "\n".join(
        [
            _INTRODUCTION,
            f"## A frontend\n\n{table(head, _rows(shown.frontend, declared))}\n",
            f"## A worker\n\n{_WORKER}\n{table(head, _rows(shown.worker, {}))}\n",
        ]
    )


def _rows(text: str, declared: dict[str, tuple[str, ...]]) -> Iterator[list[str]]:
    help_of = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    for name, kind, samples in re.findall(
        r"^# TYPE (\S+) (\w+)\n((?:[^#\n].*\n)*)", text, re.MULTILINE
    ):
        if not name.endswith("_created"):
            # dict keeps their order, in which they are written
            labels = tuple(dict.fromkeys(_LABEL.findall(samples))) or declared.get(name, ())
            told = ", ".join(code(label) for label in labels if label not in _OF_FORM)
            yield [code(name), kind, told, cell(help_of[name])]


def _declared_labels() -> dict[str, tuple[str, ...]]:
    """Returns the labels of those series of a frontend that may have no sample yet."""
    registry = cast("Any", FrontendMetrics())._registry
    labels: dict[str, tuple[str, ...]] = {}
    for collector, names in registry._collector_to_names.items():
        own: tuple[str, ...] | None = getattr(collector, "_labelnames", None)
        labels |= dict.fromkeys(names, own or ())
        for metric in () if own is not None else collector.collect():
            total = "_total" if metric.type == "counter" else ""
            labels[metric.name + total] = tuple(getattr(metric, "_labelnames", ()))
    return labels
