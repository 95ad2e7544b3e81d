"""What is counted elsewhere is read at every scrape and becomes families, without the objects of
Prometheus' client: beside 256 workers those are thirty thousand numbers.
"""

from collections.abc import Callable, Iterable
from typing import Final

from frontend.observe.buckets import Buckets
from frontend.observe.families import Family, Rule, Sample

Reading = tuple[str, str, str, float | Buckets, dict[str, str]]
"""Holds name, help, "counter", "gauge" or "histogram", value, labels.

Behind the kind may follow how several processes' values make one (frontend.observe.families), if
they do not add up: "gauge max".
"""

PAUSE: Final = None
"""Stands between readings where the loop may turn: what they read may have changed behind it."""

Readings = Callable[[], Iterable[Reading | None]]

_RULES: Final[dict[str, Rule]] = {"": "sum", "sum": "sum", "max": "max", "min": "min"}


class ReadFamilies:
    """A ReadFamilies puts readings together, by name."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def add(self, reading: Reading) -> None:
        """Adds a reading; kind and help are those of the first of its name."""
        name, help_text, kind, value, labels = reading
        family = self._families.get(name)
        if family is None:
            sort, _, rule = kind.partition(" ")
            family = self._families[name] = Family(name, help_text, sort, _RULES[rule], [])
        samples, pairs = family.samples, tuple(labels.items())
        if isinstance(value, Buckets):
            bucket = f"{name}_bucket"
            cumulated = value.cumulated()
            samples += [Sample(bucket, (*pairs, ("le", to)), count) for to, count in cumulated]
            samples.append(Sample(f"{name}_count", pairs, cumulated[-1][1]))
            samples.append(Sample(f"{name}_sum", pairs, value.total))
        else:
            samples.append(
                Sample(f"{name}_total" if family.kind == "counter" else name, pairs, value)
            )

    def families(self) -> list[Family]:
        """Returns what was added."""
        return list(self._families.values())
