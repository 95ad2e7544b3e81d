"""Figures that no program of bench/ writes into a file: noted by hand in bench/results/noted.yaml.

What is noted there is typed once, there. A figure moves from there into a result of its own as soon
as a program writes it.
"""

from collections.abc import Iterator
from typing import Any

import yaml

from bench.figures.markdown import RESULTS, table


def sections() -> Iterator[str]:
    """A section for each entry of bench/results/noted.yaml."""
    for entry in yaml.safe_load((RESULTS / "noted.yaml").read_text()):
        yield _section(entry)


def _section(entry: dict[str, Any]) -> str:
    paragraphs = [f"## {entry['title']}", str(entry["text"]).strip()]
    if "rows" in entry:
        paragraphs.append(table(entry["columns"], entry["rows"]))
    return "\n\n".join(paragraphs)
