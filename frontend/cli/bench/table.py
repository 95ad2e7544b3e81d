"""Figures of loads as a table for the terminal."""

from collections.abc import Callable, Sequence
from typing import Final

from frontend.cli.bench.summary import Quantiles, Summary, notes_of, users

_NONE: Final = "-"


def number(value: float | None) -> str:
    """Returns a number with three digits that count."""
    if value is None:
        return _NONE
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _at(quantiles: Quantiles | None, name: str) -> str:
    return _NONE if quantiles is None else number(getattr(quantiles, name))


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.0%}"


_COLUMNS: Final[Sequence[tuple[str, str, Callable[[Summary], str]]]] = (
    ("", "users", lambda each: str(each.concurrency)),
    ("", "requests", lambda each: str(each.requests)),
    ("", "errors", lambda each: str(sum(each.failures.values()))),
    ("requests", "per s", lambda each: number(each.requests_per_s)),
    ("tokens", "per s", lambda each: number(each.output_tokens_per_s)),
    ("TTFT ms", "p50", lambda each: _at(each.ttft_ms, "p50")),
    ("", "p99", lambda each: _at(each.ttft_ms, "p99")),
    ("inter-token ms", "p50", lambda each: _at(each.inter_token_ms, "p50")),
    ("", "p99", lambda each: _at(each.inter_token_ms, "p99")),
    ("prompt", "tokens", lambda each: number(each.prompt_tokens)),
    ("", "cached", lambda each: _share(each.cached_share)),
    ("output", "tokens", lambda each: number(each.output_tokens)),
    ("generator", "CPU", lambda each: _share(each.generator_cpu_share)),
)


def lines(summaries: Sequence[Summary]) -> list[str]:
    """Returns the lines of a table, and under it what has to be known of its rows."""
    rows = [[cell(each) for _, _, cell in _COLUMNS] for each in summaries]
    widths = [
        max(len(over), len(under), *(len(row[at]) for row in rows))
        for at, (over, under, _) in enumerate(_COLUMNS)
    ]
    heads = [[over for over, _, _ in _COLUMNS], [under for _, under, _ in _COLUMNS]]
    drawn = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [*heads, *rows]
    ]
    return [*drawn, *_notes(summaries)]


def _notes(summaries: Sequence[Summary]) -> list[str]:
    told = [f"  {note}" for note in notes_of(summaries)]
    for each in summaries:
        who = users([each.concurrency])
        told += [f"  {who}: {count} times {why}" for why, count in each.failures.items()]
    return ["", *told] if told else []
