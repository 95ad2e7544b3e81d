"""What was made may lie in a storage that fsspec reaches: a disk that others mount, a bucket."""

import secrets
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from protocol.process.start_error import StartError
from workers.process.failure_note import one_line

_FLAG: Final = "--media-output-fs-url"
_PROBE: Final = b"kvmesh"


class Storage:
    """A Storage is the Place behind an fsspec URL.

    Args:
        url: with credentials perhaps, so that it is not told to anybody.
    Raises:
        StartError: there is no such storage, nothing can be stored there, or what reaches it is not
        installed.
    """

    def __init__(self, url: str) -> None:
        try:
            core: Any = import_module("fsspec.core")
            self._storage, self._root = core.url_to_fs(url)
            self._check()
        except ImportError as error:
            raise StartError(
                f"{_FLAG} needs what is not installed here (extra storage): {error}"
            ) from None
        except Exception as error:  # noqa: BLE001 - whatever a storage raises
            raise StartError(f"{_FLAG}: nothing can be stored there: {one_line(error)}") from None

    def put(self, file: Path, name: str) -> None:
        """Takes a file over, as Place says."""
        path = f"{self._root}/{name}"
        self._storage.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._storage.put_file(str(file), path)
        file.unlink()

    def read(self, name: str, offset_bytes: int, size_bytes: int) -> bytes:
        """Returns a piece of what was stored, as Place says."""
        end = offset_bytes + size_bytes
        return self._storage.cat_file(f"{self._root}/{name}", start=offset_bytes, end=end)

    def drop(self, name: str) -> None:
        """Removes what was stored, as Place says."""
        try:
            self._storage.rm_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return

    def _check(self) -> None:
        """Stores something, and reads it, to know at the start what would fail requests."""
        self._storage.makedirs(self._root, exist_ok=True)
        path = f"{self._root}/.{secrets.token_hex(8)}"
        self._storage.pipe_file(path, _PROBE)
        found = self._storage.cat_file(path)
        self._storage.rm_file(path)
        if found != _PROBE:
            raise OSError("what was written there reads otherwise")
