"""Sections of docs/figures.md are made of this: results read, numbers rounded, tables laid out."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).parents[1] / "results"

COLUMNS_MAX: Final = 100


def result(name: str) -> Any:
    """What bench/results/NAME.json holds."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def number(value: float | None) -> str:
    """Three significant digits at least, and thousands with commas; "none" where there is none."""
    if value is None:
        return "none"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3g}"


def pair(first: float | None, second: float | None) -> str:
    """Two percentiles of one measurement."""
    return f"{number(first)} / {number(second)}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(found: dict[str, Any]) -> str:
    """A result's machine in words."""
    return f"{found['cores']} cores ({found['cpu']}), Python {found['python']}"


def wrapped(section: str) -> str:
    """A section with its prose within COLUMNS_MAX; tables, headings and pictures stay lines."""
    return "\n\n".join(map(_wrapped, section.split("\n\n")))


def _wrapped(paragraph: str) -> str:
    if paragraph.startswith(("|", "#", "!")):
        return paragraph
    if paragraph.startswith("- "):
        return "\n".join(_filled(line, "  ") for line in paragraph.splitlines())
    return _filled(paragraph, "")


def _filled(text: str, indent: str) -> str:
    return textwrap.fill(
        " ".join(text.split()),
        COLUMNS_MAX,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
