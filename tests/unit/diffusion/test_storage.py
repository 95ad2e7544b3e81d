"""Storages behind fsspec URLs: what was put there is read back; what cannot be is said at start."""

import asyncio
from pathlib import Path

import pytest

from protocol.process.start_error import StartError
from tests.unit.diffusion.test_outputs import kept, read, store
from workers.diffusion.storage import Storage

pytest.importorskip("fsspec")


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_what_was_stored_is_read_back_in_pieces(scheme: str, tmp_path: Path) -> None:
    storage = Storage(f"{scheme}://{tmp_path}/media")
    file = tmp_path / "made"
    file.write_bytes(b"0123456789")
    storage.put(file, "images/one.png")
    assert not file.exists()
    assert storage.read("images/one.png", 0, 4) == b"0123"
    assert storage.read("images/one.png", 8, 2) == b"89"
    storage.drop("images/one.png")
    storage.drop("images/one.png")
    with pytest.raises(FileNotFoundError):
        storage.read("images/one.png", 0, 4)


def test_nothing_else_lies_there(tmp_path: Path) -> None:
    Storage(f"file://{tmp_path}/media")
    assert list((tmp_path / "media").iterdir()) == []


@pytest.mark.parametrize("url", ["file:///proc/nowhere", "no-such-scheme://x"])
def test_a_storage_that_is_none_is_one_line_at_start(url: str) -> None:
    with pytest.raises(StartError, match="--media-output-fs-url") as caught:
        Storage(url)
    assert "\n" not in str(caught.value)


def test_outputs_are_read_back_from_a_storage(tmp_path: Path) -> None:
    async def read_back() -> None:
        own = tmp_path / "own"
        await asyncio.to_thread(own.mkdir)
        place = await asyncio.to_thread(Storage, f"file://{tmp_path}/media")
        outputs = store(own, place=place)
        output = await kept(outputs, 100, fetched=False)
        assert output.url == ""
        assert await read(outputs, output, 90) == bytes(range(90, 100))
        assert await read(outputs, output, 100) == b""
        await outputs.close()
        assert (tmp_path / "media" / "images" / f"{output.output_id}.png").exists()

    asyncio.run(read_back())
