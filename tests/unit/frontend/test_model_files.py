"""Model files in a cache whose disk does not do what it should."""

import os
import resource
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from frontend.models.files import CannotServe, FileCache
from protocol.membership import CardFile

CONTENT = b"{}" * 10_000
FILE = CardFile(name="tokenizer.json", sha256=sha256(CONTENT).hexdigest(), size_bytes=len(CONTENT))


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file may grow beyond 1 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_is_there_is_served_from_a_disk_that_may_only_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FileCache(str(tmp_path))
    stored = cache.store(FILE, CONTENT)

    def refused(_: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refused)
    assert cache.path(FILE) == stored


def test_a_full_disk_is_told_and_nothing_is_left_on_it(tmp_path: Path, no_room: None) -> None:
    cache = FileCache(str(tmp_path))
    with pytest.raises(CannotServe, match=f"cannot keep model files in {tmp_path}.*: File too"):
        cache.store(FILE, CONTENT)
    assert list((tmp_path / "model-files").iterdir()) == []
