"""Metric families are written in the text form that Prometheus scrapes.

Written by hand: prometheus_client decides when it is imported whether values are shared between
processes, and SGLang, which wants that, says so only while it starts.
"""

from collections.abc import Iterable, Mapping

from workers.observe.histogram import Histogram

Labels = Mapping[str, str]
"""A label that is empty is left out, which means the same to Prometheus."""

Samples = Iterable[tuple[Labels, float]]


def family(name: str, kind: str, text: str, samples: Samples) -> str:
    """Returns one family as text; nothing where it has no samples."""
    lines = [sample(name, labels, value) for labels, value in samples]
    return head(name, kind, text) + "".join(lines) if lines else ""


def histogram_family(name: str, text: str, labels: Labels, histogram: Histogram) -> str:
    """Returns a histogram as text."""
    counts = histogram.cumulative()
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    lines = [
        sample(f"{name}_bucket", {**labels, "le": bound}, float(count))
        for bound, count in zip(bounds, counts, strict=True)
    ]
    lines += [
        sample(f"{name}_sum", labels, histogram.sum),
        sample(f"{name}_count", labels, float(counts[-1])),
    ]
    return head(name, "histogram", text) + "".join(lines)


def head(name: str, kind: str, text: str) -> str:
    """Returns the lines that say what a family is."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def sample(name: str, labels: Labels, value: float) -> str:
    """Returns one line of a family."""
    inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items() if text)
    return f"{name}{{{inner}}} {value!r}\n" if inner else f"{name} {value!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
