"""The references of a JSON schema are followed within itself."""

from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import unquote


class Pointers:
    """A Pointers follows the pointers of one schema, each once.

    Args:
        root: the whole schema.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self._found: dict[str, Any] = {}
        """Maps a pointer to what it leads to: thousands of branches may refer to one schema, or to
        each other in a row.
        """

    def at(self, pointer: Any) -> Any:
        """Returns the schema that a pointer leads to.

        Raises:
            ValueError: saying what is wrong with it.
        """
        if isinstance(pointer, str) and pointer in self._found:
            return self._found[pointer]
        if not isinstance(pointer, str) or not (pointer == "#" or pointer.startswith("#/")):
            raise ValueError(
                f"it refers to {str(pointer)[:100]!r}; only references into itself ('#/…') "
                "are followed"
            )
        found: Any = self._root
        try:
            for step in steps(pointer):
                found = (
                    cast("list[Any]", found)[int(step)] if isinstance(found, list) else found[step]
                )
        except (LookupError, TypeError, ValueError):
            raise ValueError(f"it refers to {pointer[:100]!r}, which is not there") from None
        self._found[pointer] = found
        return found


def steps(pointer: str) -> Iterator[str]:
    """Yields the keys that a JSON pointer in a fragment goes through."""
    for step in pointer.split("/")[1:]:
        yield unquote(step).replace("~1", "/").replace("~0", "~")
