"""Rounds in which the systems take turns, case by case, on the same bodies; whatever was measured
is on disk at once.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.gpu.cases import Case
from bench.gpu.measure import measure, warm_up
from bench.kit.load import LoadFailed
from bench.kit.running import Running
from bench.kit.workloads import Corpus, write_bodies

WARM_UP_SEED = 999_983


@dataclass
class Report:
    """What was found so far, and the file that holds it."""

    file: Path
    facts: dict[str, Any]
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = field(
        default_factory=dict[str, dict[str, list[dict[str, Any]]]]
    )
    """By case and system."""
    failures: list[str] = field(default_factory=list[str])

    def add(self, case: Case, name: str, measures: dict[str, Any]) -> None:
        self.rounds.setdefault(case.name, {}).setdefault(name, []).append(measures)
        self.save()

    def fail(self, what: str) -> None:
        print(f"FAILED: {what}", flush=True)
        self.failures.append(what)
        self.save()

    def save(self) -> None:
        """Whole or not at all, so that a run that is cut off leaves a readable file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(
            json.dumps(self.facts | {"failures": self.failures, "rounds": self.rounds}, indent=1)
            + "\n"
        )
        fresh.rename(self.file)


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Cases and systems of a run."""

    cases: Sequence[Case]
    systems: Sequence[Running]
    corpus: Corpus
    report: Report
    scratch: Path

    def warm_up(self) -> None:
        """Every case once on every system, shortened."""
        for index, case in enumerate(self.cases):
            bodies = write_bodies(
                case.warm_up(self.corpus, WARM_UP_SEED + index), self.scratch / "warm_up.jsonl"
            )
            for system in self.systems:
                began = time.monotonic()
                try:
                    warm_up(system, case, bodies)
                    print(
                        f"warm-up {case.name} {system.name}: {time.monotonic() - began:.1f} s",
                        flush=True,
                    )
                except LoadFailed as error:
                    self.report.fail(f"warm-up of {case.name} on {system.name}: {error}")

    def run(self, rounds: int, seed: int, end_at: float) -> None:
        """So many rounds, or fewer where another one might not be over by `end_at` (of
        time.monotonic).
        """
        longest_s = 0.0
        for index in range(rounds):
            began = time.monotonic()
            if began + longest_s > end_at:
                print(f"no time is left for round {index + 1}", flush=True)
                return
            self._round(index, seed)
            longest_s = max(longest_s, time.monotonic() - began)
            print(f"round {index + 1} took {longest_s:.0f} s", flush=True)

    def _round(self, index: int, seed: int) -> None:
        first = index % max(1, len(self.systems))
        for number, case in enumerate(self.cases):
            bodies = write_bodies(
                case.bodies(self.corpus, seed + 1_000 * index + number),
                self.scratch / "bodies.jsonl",
            )
            for system in [*self.systems[first:], *self.systems[:first]]:
                self._turn(index, case, system, bodies)

    def _turn(self, index: int, case: Case, system: Running, bodies: Path) -> None:
        if not system.alive():
            self.report.fail(f"{system.name} is gone, before {case.name} of round {index + 1}")
            return
        try:
            measures = measure(system, case, bodies)
        except LoadFailed as error:
            self.report.fail(f"{case.name} of round {index + 1} on {system.name}: {error}")
            return
        self.report.add(case, system.name, measures)
        keys = ("tokens_per_s", "ttft_p50_ms", "ttft_p99_ms", "gap_p50_ms", "wall_s")
        shown = ", ".join(
            f"{key} {value:,.1f}" for key in keys if (value := measures[key]) is not None
        )
        print(
            (
                f"{case.name} round {index + 1} {system.name}: not ok {measures['not_ok']} "
                f"{measures['why'] or ''}, {shown}"
            ),
            flush=True,
        )
