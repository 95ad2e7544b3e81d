"""Attacks with pictures: what they take, and what others notice."""

from collections import Counter
from collections.abc import Iterator
from statistics import median
from typing import Any

from bench.figures.markdown import machine, number, result, table


def sections() -> Iterator[str]:
    """A section with a row for each attack."""
    found = result("attacks")
    rounds = len(next(iter(found["attacks"].values())))
    rows = [_row(name, told) for name, told in found["attacks"].items()]
    reached = sum(each["reached_inside"] for told in found["attacks"].values() for each in told)
    failed = sum(each["under"]["not_ok"] for told in found["attacks"].values() for each in told)
    yield f"""\
## Attacks with pictures

`python -m bench.attacks`: one frontend, whose attackers take what is left of \
{machine(found["machine"])}, while a hundred short chats a second come and one client asks about a
picture of an innocent host after the other. Phases with and without attackers take turns; medians
of {rounds} rounds. Requests that reached a server inside the house: {reached}; short chats without
a whole answer: {failed}.

{table(COLUMNS, rows)}"""


COLUMNS = (
    "attack",
    "answers",
    "memory before, at most, 5 s after (MiB)",
    "short chats p50 (ms), and times without",
    "p99 (ms), and times without",
    "a fetched picture of others, p50 (ms)",
)


def _row(name: str, told: list[dict[str, Any]]) -> list[str]:
    def middle(part: str, key: str) -> float:
        return median(each[part][key] for each in told)

    def times(key: str) -> str:
        ratio = median(each["under"][key] / each["without"][key] for each in told)
        return f"{number(middle('under', key))}; x{number(ratio)}"

    answers: Counter[str] = Counter()
    for each in told:
        answers.update(each["answers"])
    memory = [median(each[key] for each in told) for key in ("before_mib", "peak_mib", "after_mib")]
    return [
        name,
        ", ".join(f"{count:,} x {what}" for what, count in answers.most_common()) or "none yet",
        ", ".join(f"{each:,.0f}" for each in memory),
        times("p50_ms"),
        times("p99_ms"),
        number(middle("under", "looked_p50_ms")),
    ]
