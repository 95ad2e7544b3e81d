"""Pictures encoded apart, on the paced simulation."""

from collections.abc import Iterator
from statistics import median
from typing import Any, Final

from bench.figures.markdown import number, pair, result, table

_COLUMNS: Final = ("texts: requests/s; TTFT; gap p99", "pictures: the same")


def sections() -> Iterator[str]:
    """A section with what clients see of each fleet, beside each other and of many at once."""
    fleets = result("pictures_apart")["fleets"]
    rounds = len(next(iter(fleets.values())))
    mixed = [
        [name, *(_cell(found, "mixed", who) for who in ("texts", "pictures"))]
        for name, found in fleets.items()
    ]
    burst = [
        [
            name,
            _cell(found, "burst", "texts"),
            _ttft(found, "burst", "pictures"),
            number(median(each["burst"]["pictures"]["all_s"] for each in found)),
            number(median(each["burst"]["encoded_apart"] for each in found)),
        ]
        for name, found in fleets.items()
    ]
    yield f"""\
## Pictures encoded apart, on the simulation

`python -m bench.pictures_apart`: paced simulated workers, as if each had a GPU of its own; to
encode pictures takes 20 ms and 0.11 a token, whoever does it. 8 clients with fresh pictures of
1,024 tokens beside 32 with texts; TTFT p50 / p99 and gap p99 in ms, medians of {rounds} round(s):

{table(["fleet", *_COLUMNS], mixed)}

256 such pictures at once beside the same texts:

{table(["fleet", _COLUMNS[0], "pictures: TTFT", "all of them (s)", "encoded apart"], burst)}"""


def _ttft(found: list[dict[str, Any]], part: str, who: str) -> str:
    p50, p99 = (
        median(each[part][who][f"ttft_{percentile}_ms"] for each in found)
        for percentile in ("p50", "p99")
    )
    return pair(p50, p99)


def _cell(found: list[dict[str, Any]], part: str, who: str) -> str:
    def middle(key: str) -> str:
        return number(median(each[part][who][key] for each in found))

    return f"{middle('requests_per_s')}; {_ttft(found, part, who)}; {middle('gap_p99_ms')}"
