"""Gets model files by content hash: from the local cache, or from the worker that advertises them.

No shared disk is needed, and a file is never trusted by its name: what does not hash to what the
card says is refused.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from protocol.membership import CardFile
from protocol.process.start_error import StartError
from protocol.replies import FileChunk

CACHE_BYTES_MAX = 2 * 1024**3
"""Bounds the cache, about sixty of the largest tokenizers; the files used least recently go
first.
"""

FETCH_S_MAX = 60.0
"""Bounds the fetch of one file: 128 MB at 2 MB/s."""


class CannotServe(Exception):
    """A CannotServe says why a worker's model cannot be served by this frontend.

    The worker is told why in these words; clients never see them.
    """


class FileCache:
    """A FileCache keeps files in one directory, each under its SHA-256.

    Raises:
        StartError: the directory cannot be made.
    """

    def __init__(self, cache_dir: str) -> None:
        self._directory = Path(cache_dir).expanduser() / "model-files"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(
                f"cannot keep model files in {self._directory}: {error.strerror}"
            ) from None

    def path(self, file: CardFile) -> Path | None:
        """Returns where the file lies; None when it must be fetched."""
        path = self._directory / file.sha256
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            return None
        with suppress(OSError):  # another user's, or all of it may only be read
            os.utime(path)
        return path

    def store(self, file: CardFile, content: bytes) -> Path:
        """Keeps a fetched file, and returns where it lies.

        Raises:
            CannotServe: the content is not what its hash says, or the disk does not take it.
        """
        if sha256(content).hexdigest() != file.sha256:
            raise CannotServe(f"the worker's {file.name} does not match its hash")
        try:
            self._make_room(file.size_bytes)
            return self._written(content, self._directory / file.sha256)
        except OSError as error:
            raise CannotServe(
                f"the frontend cannot keep model files in {self._directory}: {error.strerror}"
            ) from None

    def _written(self, content: bytes, path: Path) -> Path:
        partial = tempfile.NamedTemporaryFile(dir=self._directory, delete=False)  # noqa: SIM115 - of which a failure leaves nothing
        try:
            with partial:
                partial.write(content)
            # Renaming is atomic: two frontends that share the cache never read half a file.
            return Path(partial.name).rename(path)
        except OSError:
            Path(partial.name).unlink(missing_ok=True)
            raise

    def _make_room(self, size_bytes: int) -> None:
        files: list[tuple[float, int, Path]] = []
        for path in self._directory.iterdir():
            # another frontend that shares the cache made room too
            with suppress(FileNotFoundError):
                files.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in files) + size_bytes
        for _, size, path in sorted(files):
            if total <= CACHE_BYTES_MAX:
                return
            path.unlink(missing_ok=True)
            total -= size


class FileFetch:
    """A FileFetch is one file on its way from one worker."""

    def __init__(self, file: CardFile) -> None:
        self._file = file
        self._received = bytearray()
        self._done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    @property
    def over(self) -> bool:
        """Tells whether nothing more is to come: the file is whole, or has failed."""
        return self._done.done()

    def add(self, chunk: FileChunk) -> None:
        """Takes the next piece; one out of order or beyond the advertised size fails the fetch."""
        if self._done.done():
            return
        expected = (len(self._received), self._file.size_bytes)
        if (chunk.offset_bytes, chunk.size_bytes) != expected or len(self._received) + len(
            chunk.data
        ) > self._file.size_bytes:
            self._done.set_exception(
                CannotServe(f"the worker does not send the {self._file.name} that it advertised")
            )
            return
        self._received += chunk.data
        if len(self._received) == self._file.size_bytes:
            self._done.set_result(bytes(self._received))

    async def content(self) -> bytes:
        """Returns the whole file, once it is there.

        Raises:
            CannotServe: it did not come whole and in time.
        """
        try:
            async with asyncio.timeout(FETCH_S_MAX):
                return await self._done
        except TimeoutError:
            raise CannotServe(f"{self._file.name} did not arrive in {FETCH_S_MAX:.0f} s") from None


async def collect_files(
    files: list[CardFile], cache: FileCache, request: Callable[[CardFile], FileFetch]
) -> dict[str, Path]:
    """Returns name → path of every file of a card, fetching what the cache lacks one after the
    other.
    """
    paths: dict[str, Path] = {}
    for file in files:
        path = await asyncio.to_thread(cache.path, file)
        paths[file.name] = path or await asyncio.to_thread(
            cache.store, file, await request(file).content()
        )
    return paths
