"""The pages by their names in docs/. One more is a module with a function, and a row here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from manual import errors, settings

FOLDER: Final = Path(__file__).parents[1] / "docs"

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "errors.md": errors.page,
    "settings.md": settings.page,
}
"""Maps the name of each page to what returns its text."""

SERIES: Final = "series.md"
"""Names the page that takes a mesh to make."""
