"""The tables of docs/coming_from_dynamo.md: what a name of Dynamo's is here."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "coming_from_dynamo.md"

SAME: Final = "the same"
NONE: Final = "none"

_CODE: Final = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Row:
    """A row: what is called so there, and what it is here.

    Attributes:
        section: the heading above.
        theirs: the names in the first cell.
        here: the second cell.
        told: the third one.
    """

    section: str
    theirs: tuple[str, ...]
    here: str
    told: str

    @property
    def ours(self) -> tuple[str, ...]:
        """The names that must exist here."""
        return self.theirs if self.here == SAME else names(self.here)


def names(cell: str) -> tuple[str, ...]:
    """What stands in a cell as code."""
    return tuple(_CODE.findall(cell))


def rows(section: str = "") -> list[Row]:
    """All rows of the tables that begin with Dynamo's names, or those below headings that begin
    so.
    """
    found: list[Row] = []
    heading, inside = "", False
    for line in PAGE.read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else []
        if cells[:2] == ["Dynamo", "here"]:
            inside = True
        elif not cells:
            inside = False
        elif inside and set(cells[0]) != {"-"}:
            found.append(Row(heading, names(cells[0]), cells[1], cells[2]))
    return [row for row in found if row.section.startswith(section)]
