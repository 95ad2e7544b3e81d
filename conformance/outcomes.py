"""What the suites' JUnit reports say, as one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

NOTE_CHARS_MAX = 160


@dataclass(frozen=True)
class Outcome:
    """One suite's counts; `failures` has a line for each test that failed."""

    name: str
    passed: int
    failures: Sequence[str]
    skipped: int
    exit_code: int
    wall_s: float

    @property
    def good(self) -> bool:
        """Whether something ran and nothing failed; a skipped test is one that nobody made."""
        return self.exit_code == 0 and self.passed > 0 and not self.failures and not self.skipped


def read_junit(report: Path, *, name: str, exit_code: int, wall_s: float) -> Outcome:
    """The outcome of a suite that ended with `exit_code`; without a whole report nothing passed."""
    cases = _cases(report)
    failed = {
        case.get("name", "?"): problem for case in cases if (problem := _problem(case)) is not None
    }
    skipped = sum(case.find("skipped") is not None for case in cases)
    lines = [f"{test}: {_first_line(problem)}" for test, problem in failed.items()]
    return Outcome(name, len(cases) - len(failed) - skipped, lines, skipped, exit_code, wall_s)


def _cases(report: Path) -> list[ElementTree.Element]:
    try:
        return list(ElementTree.parse(report).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):  # the suite was ended before it wrote one, or while
        return []


def _problem(case: ElementTree.Element) -> ElementTree.Element | None:
    failure = case.find("failure")
    return case.find("error") if failure is None else failure


def _first_line(problem: ElementTree.Element) -> str:
    lines = [
        line.strip()
        for line in (problem.get("message") or problem.text or "").splitlines()
        if line.strip()
    ]
    return " ".join(lines[:3])[:NOTE_CHARS_MAX]


def summary(outcomes: Sequence[Outcome]) -> str:
    """The table, and below it what failed."""
    lines = ["", f"{'suite':14}{'passed':>8}{'failed':>8}{'skipped':>9}{'exit':>6}{'seconds':>9}"]
    lines += [
        f"{each.name:14}{each.passed:>8}{len(each.failures):>8}{each.skipped:>9}{each.exit_code:>6}{each.wall_s:>9.0f}"
        for each in outcomes
    ]
    lines += [f"  {each.name}: {failure}" for each in outcomes for failure in each.failures]
    lines.append(f"conformance: {'good' if all(each.good for each in outcomes) else 'FAILED'}")
    return "\n".join(lines)
