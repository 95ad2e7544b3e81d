"""What was made is kept within its bounds, and what is being fetched is not dropped."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from protocol.diffusion import FetchOutput, Output
from protocol.errors import EngineFault, Overloaded
from protocol.limits import REQUEST_ID_CHARS
from tests.unit.encoding.encoder_bench import on_virtual_time
from workers.diffusion import outputs as module
from workers.diffusion.generator import Made
from workers.diffusion.outputs import PREVIEW_S, WANTED_S, Keeping, Outputs
from workers.diffusion.places import Folder

QUERY = "1" * REQUEST_ID_CHARS


def store(
    folder: Path, bytes_max: int = 100, lifetime_s: float = 1_000.0, **options: Any
) -> Outputs:
    keeping = Keeping(bytes_max=bytes_max, lifetime_s=lifetime_s)
    outputs = Outputs(folder, keeping, unix_ms=lambda: 5_000_000.0, **options)
    outputs.tag = "a" * 16
    return outputs


async def kept(
    outputs: Outputs, size: int = 10, *, preview: bool = False, fetched: bool = True
) -> Output:
    """Has something kept, which has been fetched, unless told otherwise."""
    bench = await outputs.bench()
    path = bench / "made"
    await asyncio.to_thread(path.write_bytes, bytes(range(size)))
    output = await outputs.keep(Made(path, "png", 4, 4), preview=preview)
    outputs.clear(bench)
    if fetched:
        await read(outputs, output)
    return output


async def read(
    outputs: Outputs, output: Output, offset: int = 0, size: int = 1_000
) -> bytes | None:
    chunk = await outputs.read(FetchOutput(QUERY, output.output_id, offset, size))
    return None if chunk.output is None else chunk.data


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@on_virtual_time
async def test_the_oldest_are_dropped_first(tmp_path: Path) -> None:
    outputs = store(tmp_path)
    all_kept = [await kept(outputs, 30) for _ in range(5)]
    assert [output.output_id in outputs for output in all_kept] == [False, False, True, True, True]
    assert outputs.size_bytes == 90
    assert files(tmp_path) == sorted(f"{output.output_id}.png" for output in all_kept[2:])
    assert await read(outputs, all_kept[0]) is None


@on_virtual_time
async def test_what_is_being_fetched_stays(tmp_path: Path) -> None:
    outputs = store(tmp_path)
    first = await kept(outputs, 40, fetched=False)
    second = await kept(outputs, 40)
    third = await kept(outputs, 40, fetched=False)
    assert [each.output_id in outputs for each in (first, second, third)] == [True, False, True]
    with pytest.raises(Overloaded):
        await kept(outputs, 40)
    await asyncio.sleep(WANTED_S / 2)
    assert await read(outputs, first, 0, 10) == bytes(range(10))
    await asyncio.sleep(WANTED_S * 0.75)  # nobody has fetched the third
    fourth = await kept(outputs, 40)
    assert [each.output_id in outputs for each in (first, third, fourth)] == [True, False, True]
    assert await read(outputs, first, 30) == bytes(range(30, 40))


class _Slow(Folder):
    """Has a piece read for longer than what is left of the wish before."""

    def read(self, name: str, offset_bytes: int, size_bytes: int) -> bytes:
        self.reading.set()
        self.go_on.wait()
        return super().read(name, offset_bytes, size_bytes)

    reading = threading.Event()
    go_on = threading.Event()


async def test_a_piece_that_is_read_slowly_is_wanted_all_the_time(tmp_path: Path) -> None:
    outputs = store(tmp_path)
    output = await kept(outputs, 60, fetched=False)
    outputs._place = slow = _Slow(tmp_path)
    wish = outputs._kept[output.output_id].wanted_timer
    assert wish is not None
    reading = asyncio.create_task(read(outputs, output, size=30))
    await asyncio.to_thread(slow.reading.wait)
    ends_the_wish, owed = not wish.cancelled(), outputs.owed
    slow.go_on.set()
    assert await reading == bytes(range(30))
    assert (ends_the_wish, owed) == (False, 1)


@on_virtual_time
async def test_nothing_is_kept_for_longer_than_its_lifetime(tmp_path: Path) -> None:
    outputs = store(tmp_path)
    assert outputs.expires_unix_s == 6_000
    first = await kept(outputs)
    preview = await kept(outputs, preview=True)
    await asyncio.sleep(PREVIEW_S + 1)
    assert preview.output_id not in outputs
    assert await read(outputs, first) is not None
    await asyncio.sleep(1_000.0 - PREVIEW_S - WANTED_S / 2)
    second = await kept(outputs)
    assert await read(outputs, first, 0, 2) is not None  # and goes on a little later
    await asyncio.sleep(WANTED_S * 0.75)
    assert await read(outputs, first, 2, 2) is not None
    await asyncio.sleep(3 * WANTED_S)
    assert [each.output_id in outputs for each in (first, second)] == [False, True]
    await asyncio.sleep(1_000.0)
    assert (len(outputs), outputs.size_bytes, files(tmp_path)) == (0, 0, [])


@on_virtual_time
async def test_the_number_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTPUTS_KNOWN_MAX", 3)
    outputs = store(tmp_path)
    for _ in range(5):
        await kept(outputs, 1)
    assert len(outputs) == 3


@on_virtual_time
async def test_what_is_larger_than_all_is_refused(tmp_path: Path) -> None:
    outputs = store(tmp_path)
    first = await kept(outputs)
    with pytest.raises(EngineFault, match="101 bytes"):
        await kept(outputs, 101)
    assert first.output_id in outputs
    with pytest.raises(EngineFault):
        await outputs.keep(Made(tmp_path / "nowhere", "png", 1, 1))
    assert outputs.size_bytes == 10


@on_virtual_time
async def test_names_are_the_workers_own(tmp_path: Path) -> None:
    outputs = store(tmp_path)
    ids = {(await kept(outputs, 1)).output_id for _ in range(20)}
    assert len(ids) == 20
    assert {(len(each), each[:16]) for each in ids} == {(48, "a" * 16)}


@on_virtual_time
async def test_a_file_that_is_gone_is_no_output_any_more(tmp_path: Path) -> None:
    outputs = store(tmp_path)
    first = await kept(outputs)
    await asyncio.to_thread((tmp_path / "images" / f"{first.output_id}.png").unlink)
    assert await read(outputs, first) is None
    assert len(outputs) == 0


class _Broken(Folder):
    def put(self, file: Path, name: str) -> None:
        raise PermissionError("the key is secret")


@on_virtual_time
async def test_a_storage_that_fails_is_told_clearly_and_without_its_words(tmp_path: Path) -> None:
    outputs = store(tmp_path, place=_Broken(tmp_path))
    with pytest.raises(EngineFault, match="could not be stored") as caught:
        await kept(outputs)
    assert "secret" not in caught.value.message
    assert outputs.size_bytes == 0


@on_virtual_time
async def test_what_lies_elsewhere_stays_there_unless_it_is_thrown_away(tmp_path: Path) -> None:
    for name in ("own", "elsewhere"):
        await asyncio.to_thread((tmp_path / name).mkdir)
    elsewhere = tmp_path / "elsewhere"
    outputs = store(
        tmp_path / "own", 15, place=Folder(elsewhere), url="https://pictures.example/of"
    )
    assert outputs.expires_unix_s == 0
    first, second = await kept(outputs, fetched=False), await kept(outputs, fetched=False)
    assert first.url == f"https://pictures.example/of/images/{first.output_id}.png"
    assert outputs.owed == 0  # clients fetch them there
    assert await read(outputs, second) == bytes(range(10))
    outputs.drop([second.output_id])
    await asyncio.sleep(2_000.0)
    assert len(outputs) == 0
    await outputs.close()
    assert files(tmp_path) == [f"{first.output_id}.png"]
    assert not (tmp_path / "own").exists()


@on_virtual_time
async def test_whoever_waits_for_what_is_owed_is_told(tmp_path: Path) -> None:
    outputs, told = store(tmp_path), list[int]()
    outputs.on_fetched = lambda: told.append(outputs.owed)
    first = await kept(outputs, fetched=False)
    assert outputs.owed == 1
    await read(outputs, first)
    assert told[-1] == 0
    await kept(outputs, fetched=False)
    await asyncio.sleep(WANTED_S + 0.1)
    assert told[-1] == outputs.owed == 0


@on_virtual_time
async def test_previews_make_room_for_what_was_asked_for(tmp_path: Path) -> None:
    outputs = store(tmp_path)
    result = await kept(outputs, 40, fetched=False)
    previews = [await kept(outputs, 30, preview=True, fetched=False) for _ in range(2)]
    second = await kept(outputs, 60, fetched=False)
    assert [each.output_id in outputs for each in (result, *previews, second)] == [
        True,
        False,
        False,
        True,
    ]


@on_virtual_time
async def test_what_does_not_fit_together_is_no_lack_of_room(tmp_path: Path) -> None:
    outputs = store(tmp_path)
    first = await kept(outputs, 60, fetched=False)
    bench = await outputs.bench()
    path = bench / "made"
    await asyncio.to_thread(path.write_bytes, bytes(60))
    with pytest.raises(EngineFault, match="more than the 100 bytes"):
        await outputs.keep(Made(path, "png", 4, 4), beside=[first])
    assert first.output_id in outputs
