"""What was made lies in a folder of the worker's own, or in a storage that it was told."""

from pathlib import Path
from typing import Protocol


class Place(Protocol):
    """A Place keeps files under names that the worker makes. All of it blocks."""

    def put(self, file: Path, name: str) -> None:
        """Takes a file over, which is not where it was any more then.

        Raises:
            OSError: there is no room, or no way to it.
        """
        ...

    def read(self, name: str, offset_bytes: int, size_bytes: int) -> bytes:
        """Returns a piece of what lies under a name, which ends where that does.

        Raises:
            FileNotFoundError: nothing lies there any more.
            OSError: it cannot be read now.
        """
        ...

    def drop(self, name: str) -> None:
        """Removes what lies under a name, if anything does."""


class Folder:
    """A Folder is the Place of a worker that was told no other.

    Args:
        path: an empty directory on the same disk as the files that it is given.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, file: Path, name: str) -> None:
        """Takes a file over, as Place says."""
        path = self._path / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        file.rename(path)

    def read(self, name: str, offset_bytes: int, size_bytes: int) -> bytes:
        """Returns a piece of a file, as Place says."""
        with (self._path / name).open("rb") as file:
            file.seek(offset_bytes)
            return file.read(size_bytes)

    def drop(self, name: str) -> None:
        """Removes a file, as Place says."""
        (self._path / name).unlink(missing_ok=True)
