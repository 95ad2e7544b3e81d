"""Tables and code of Markdown."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

_FLAG: Final = re.compile(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; cells may have Markdown, but no line breaks."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def code(text: object) -> str:
    """Returns a text as code, fit for a cell."""
    return f"`{text}`".replace("|", "\\|")


def cell(text: str) -> str:
    """Returns a text that the code has for people, fit for a cell, with its flags as code."""
    plain = text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
    return _FLAG.sub(r"`\g<0>`", plain)
