"""The metrics of several processes are added up, so that no counter ever goes back."""

from collections.abc import Iterable
from typing import Final

from frontend.observe.families import CREATED, PROCESS, WORKER, Family, Labels, Rule, Sample

Key = tuple[str, Labels]

_OF: Final = {"sum": float.__add__, "max": max, "min": min}


class Sums:
    """Sums keeps what each process told last, and what those had counted that have ended.

    Without the latter the sum would fall when a process ends, and Prometheus takes a counter that
    falls for one that began anew: it would count everything twice. What a process counted after it
    told last, it takes with it.
    """

    def __init__(self) -> None:
        self._told: dict[int, list[Family]] = {}
        self._departed: dict[str, Family] = {}

    def note(self, number: int, families: list[Family]) -> None:
        """Notes what the process with this number tells."""
        self._told[number] = families

    def ended(self, number: int) -> None:
        """Notes that the process has ended, and that another may come under its number."""
        counted = [family for family in self._told.pop(number, ()) if family.counts]
        kept = _added([*self._departed.values(), *counted])
        self._departed = {
            family.name: family for family in _without_gone(kept, _workers(self._told))
        }

    def total(self) -> list[Family]:
        """Returns all processes' metrics as those of one."""
        departed = _without_gone(self._departed.values(), _workers(self._told))
        return _added([*(family for told in self._told.values() for family in told), *departed])


def _added(families: Iterable[Family]) -> list[Family]:
    first: dict[str, Family] = {}
    values: dict[str, dict[Key, float]] = {}
    for family in families:
        first.setdefault(family.name, family)
        known = values.setdefault(family.name, {})
        for sample in family.samples:
            key = sample.name, sample.labels
            before = known.get(key)
            known[key] = (
                sample.value
                if before is None
                else _OF[_rule_of(sample, family.rule)](before, sample.value)
            )
    return [_with(family, values[name]) for name, family in first.items()]


def _rule_of(sample: Sample, rule: Rule) -> Rule:
    return "min" if sample.name.endswith(CREATED) else rule


def _with(family: Family, values: dict[Key, float]) -> Family:
    samples = [Sample(name, labels, value) for (name, labels), value in values.items()]
    return Family(family.name, family.help, family.kind, family.rule, samples)


def _workers(told: dict[int, list[Family]]) -> set[str]:
    """Returns the workers of which a process tells."""
    return {
        value
        for families in told.values()
        for family in families
        for sample in family.samples
        for label, value in sample.labels
        if label == WORKER
    }


def _without_gone(families: Iterable[Family], workers: set[str]) -> list[Family]:
    """Returns families of ended processes without the series of these alone, and of workers of
    which nobody tells any more.
    """
    return [
        _with(
            family,
            {
                (sample.name, sample.labels): sample.value
                for sample in family.samples
                if all(
                    label != PROCESS and (label != WORKER or value in workers)
                    for label, value in sample.labels
                )
            },
        )
        for family in families
    ]
