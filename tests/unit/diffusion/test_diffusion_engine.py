"""Orders are made one after the other; what befalls one befalls no other."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from protocol.diffusion import PERCENT_MADE, Diffuse, Diffused
from protocol.errors import EngineFault, InvalidRequest
from protocol.generation import Finished
from protocol.process.start_error import StartError
from protocol.replies import Failed
from tests.unit.diffusion.media_bench import LOST, STEP_S, STEPS, MediaBench, named
from tests.unit.encoding.encoder_bench import on_virtual_time
from workers.diffusion.making import FINISHING_MAX
from workers.diffusion.orders import (
    ORDERS_WAITING_MAX,
    REFERENCE_BYTES_WAITING_MAX,
)
from workers.engine import CANARY_PREFIX

CANARY = CANARY_PREFIX.ljust(32, "0")


@on_virtual_time
async def test_what_is_asked_for_is_made_and_can_be_read(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1, count=2, seed=5)
    first, second = await bench.made(1)
    assert first.output_id != second.output_id
    assert (first.format, first.size_bytes, first.seed, first.url) == ("png", 10, 5, "")
    assert await bench.read(first) == b"1........."
    assert await bench.read(first, 4, 3) == b"..."
    assert await bench.read(first, 10) == b""
    [end] = bench.ends[named(1)]
    assert end.made_us == 2 * STEPS * STEP_S * 1_000_000
    assert end.expires_unix_s == int(bench.unix_ms() / 1000 + 3_600)


@on_virtual_time
async def test_each_percent_is_told_once_and_never_less(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1, steps=1_000)
    bench.submit(2, steps=3, count=2)
    await bench.made(1)
    await bench.made(2)
    assert [told.percent for told in bench.told[named(1)]] == list(range(1, 100))
    assert [told.percent for told in bench.told[named(2)]] == [16, 33, 50, 66, 83, 99]
    assert [(told.step, told.steps, told.index) for told in bench.told[named(2)]] == [
        (step, 6, step > 3) for step in range(1, 7)
    ]


@on_virtual_time
async def test_the_next_is_made_while_what_is_made_is_written(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.generator.write_s = STEPS * STEP_S / 2
    for number in range(3):
        bench.submit(number)
    began = asyncio.get_running_loop().time()
    await bench.made(2)
    assert asyncio.get_running_loop().time() - began < (3 * STEPS + STEPS / 2 + 0.2) * STEP_S
    assert [told.percent for told in bench.told[named(0)]] == [25, 50, 75, 99, PERCENT_MADE]
    assert bench.generator.written == ["0", "1", "2"]
    assert bench.left == [0, 0, 0]


@on_virtual_time
async def test_no_more_is_made_than_can_be_written(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.generator.write_s = 100 * STEPS * STEP_S
    for number in range(FINISHING_MAX + 3):
        bench.submit(number)
    await asyncio.sleep(50 * STEPS * STEP_S)
    assert len(bench.generator.made) == FINISHING_MAX + 1
    assert bench.load[:2] == (0, 2)


@on_virtual_time
async def test_what_is_being_written_can_be_aborted_and_befalls_no_other(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.generator.write_s = 2 * STEP_S
    bench.submit(1)
    bench.submit(2)
    await asyncio.sleep((STEPS + 1.5) * STEP_S)
    bench.engine.abort(named(1))
    await bench.made(2)
    [end] = bench.ends[named(1)]
    assert end == Finished("abort", 0, 0)
    assert bench.generator.written == ["2"]


@on_virtual_time
async def test_previews_are_shown_in_order_and_can_be_read(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1, previews=2, count=2)
    await bench.made(1)
    shown = [told for told in bench.told[named(1)] if told.preview is not None]
    # no more than were asked for, whatever the generator shows
    assert [(told.index, told.step) for told in shown] == [(0, 1), (0, 2), (0, 3), (1, 5)]
    for told in shown:
        assert told.preview is not None
        assert await bench.read(told.preview) == b"1........."


@on_virtual_time
async def test_the_urgent_come_first_and_equals_in_order(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    for number, priority in ((1, 0), (2, 0), (3, 5), (4, 0), (5, 5)):
        bench.submit(number, priority=priority)
    await bench.made(4)
    assert bench.generator.made == ["3", "5", "1", "2", "4"]


@on_virtual_time
async def test_one_too_many_is_refused_at_once(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(0, prompt="running")
    await asyncio.sleep(STEP_S / 2)
    for number in range(1, ORDERS_WAITING_MAX + 2):
        bench.submit(number)
    assert bench.load[:2] == (1, ORDERS_WAITING_MAX)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    [refused] = bench.ends[named(ORDERS_WAITING_MAX + 1)]
    assert refused.code == "overloaded"
    await bench.made(ORDERS_WAITING_MAX)


@on_virtual_time
async def test_what_orders_bring_along_is_bounded(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    brought = [bytes(REFERENCE_BYTES_WAITING_MAX // 4)]
    for number in range(6):
        bench.submit(number, references=brought)
        await asyncio.sleep(STEP_S / 100)
    refused = [number for number in range(6) if bench.ends[named(number)]]
    assert refused == [5]  # one runs, and four wait


@on_virtual_time
async def test_the_cost_that_is_left_is_told(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    cost = 1 + 1024 * 1024 * 10 // 4_096
    for number in range(3):
        bench.submit(number, width=1024, height=1024, steps=10)
    assert bench.load == (0, 3, 3 * cost)
    await asyncio.sleep(5.5 * STEP_S)
    assert bench.load == (1, 2, 2 * cost + cost * 50 // 100)
    await bench.made(2)
    await asyncio.sleep(0)
    assert bench.load == (0, 0, 0)


@on_virtual_time
async def test_one_that_waits_is_aborted_at_once_and_never_made(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1)
    bench.submit(2)
    await asyncio.sleep(STEP_S / 2)
    bench.engine.abort(named(2))
    assert not bench.ends[named(2)]  # in a turn of its own
    await asyncio.sleep(0)
    assert bench.ends[named(2)] == [Finished("abort", 0, 0)]
    await bench.made(1)
    assert bench.generator.made == ["1"]


@on_virtual_time
async def test_one_that_is_made_is_aborted_at_once_and_the_next_waits_for_the_generator(
    tmp_path: Path,
) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.generator.back_s = 30.0
    begun_at = asyncio.get_running_loop().time()
    bench.submit(1, previews=2)
    bench.submit(2)
    await asyncio.sleep(2.5 * STEP_S)
    bench.engine.abort(named(1))
    await asyncio.sleep(0)
    assert bench.ends[named(1)] == [Finished("abort", 0, 0)]
    told = len(bench.told[named(1)])
    await bench.made(2)
    assert asyncio.get_running_loop().time() - begun_at > 30.0
    assert len(bench.told[named(1)]) == told
    bench.engine.abort(named(1))  # once more, and of nobody
    bench.engine.abort(named(9))
    await asyncio.sleep(100.0)  # previews are kept for a while
    assert len(bench.files) == 1


@pytest.mark.parametrize(
    ("error", "code", "param"),
    [
        (InvalidRequest("no such size", param="width"), "invalid_value", "width"),
        (EngineFault("out of memory"), "engine_fault", None),
        (LOST, "worker_lost", None),
        (RuntimeError("a defect"), "engine_fault", None),
    ],
)
def test_a_failure_is_that_of_one_order(
    error: Exception, code: str, param: str | None, tmp_path: Path
) -> None:
    _failed(error, code, param, tmp_path)


@on_virtual_time
async def _failed(error: Exception, code: str, param: str | None, tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.generator.raises = error
    bench.submit(1)
    bench.submit(2)
    failed = await bench.end_of(1)
    assert (failed.code, failed.param) == (code, param)
    assert len(await bench.made(2)) == 1
    assert list(tmp_path.glob("making-*")) == []


@on_virtual_time
async def test_what_a_generator_must_not_give_fails_the_order(tmp_path: Path) -> None:
    own = tmp_path / "own"
    await asyncio.to_thread(own.mkdir)
    bench = await MediaBench(own).started()
    bench.generator.too_few = True
    bench.submit(1, count=2)
    assert (await bench.end_of(1)).code == "engine_fault"
    bench.generator.too_few, bench.generator.elsewhere = False, tmp_path
    bench.submit(2)
    assert (await bench.end_of(2)).code == "engine_fault"
    assert (tmp_path / "output-0").exists()  # which is somebody else's


@on_virtual_time
async def test_what_has_not_begun_in_time_is_never_made(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    begun_at = asyncio.get_running_loop().time()
    bench.submit(1, within_s=STEP_S)
    bench.submit(2, within_s=2.5 * STEP_S)
    assert isinstance(await bench.end_of(2), Failed)
    assert asyncio.get_running_loop().time() - begun_at < 3 * STEP_S
    assert bench.ends[named(2)][0].code == "deadline_exceeded"
    await bench.made(1)  # which had begun
    bench.submit(3, within_s=1_000.0)
    bench.ahead_ms = 1_000_001.0  # the wall clock was set meanwhile
    assert (await bench.end_of(3)).code == "deadline_exceeded"
    assert bench.generator.made == ["1"]


@on_virtual_time
async def test_an_idle_generator_is_asked_itself(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(0, prompt="x")
    await bench.made(0)
    canary = _canary(bench)
    await asyncio.sleep(0.1)
    assert bench.ends.pop(canary) == [Finished("stop", 0, 0)]
    bench.generator.raises = LOST
    await _asked(bench, 0.1)
    assert bench.ends.pop(canary)[0].code == "worker_lost"
    bench.generator.raises = RuntimeError("a defect")
    await _asked(bench, 0.1)
    assert bench.ends.pop(canary)[0].code == "engine_fault"
    bench.generator.hangs = True
    await _asked(bench, 100.0)
    assert not bench.ends.pop(canary, [])
    bench.engine.abort(canary)
    await asyncio.sleep(0.1)
    assert bench.ends[canary] == [Finished("abort", 0, 0)]
    assert bench.left == [0, 0, 0]


@on_virtual_time
async def test_a_canary_waits_for_no_order_unless_it_stands_still(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1, steps=3)
    await asyncio.sleep(1.5 * STEP_S)
    await _asked(bench, 0.0)
    assert bench.ends.pop(CANARY) == [Finished("abort", 0, 0)]
    bench.generator.hangs = True
    await asyncio.sleep(100.0)  # a long step, which the next ones may be
    await _asked(bench, 0.0)
    assert bench.ends.pop(CANARY) == [Finished("abort", 0, 0)]
    await asyncio.sleep(100.0)
    await _asked(bench, 50.0)
    assert not bench.ends.pop(CANARY, [])
    bench.generator.hangs = False
    await asyncio.sleep(2 * STEP_S)
    assert bench.ends.pop(CANARY) == [Finished("abort", 0, 0)]
    await bench.made(1)


@on_virtual_time
async def test_the_first_thing_made_is_thrown_away(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    assert [order.width for order in bench.generator.first_orders] == [512]
    assert list(tmp_path.iterdir()) == []


@on_virtual_time
async def test_a_model_that_has_other_sizes_makes_its_own_first(tmp_path: Path) -> None:
    bench = MediaBench(tmp_path)
    bench.generator.first_raises = [InvalidRequest("64 at most", param="width")]
    await bench.started()
    assert [order.width for order in bench.generator.first_orders] == [512, 0]
    for errors in ([EngineFault("no memory")], [InvalidRequest("a"), InvalidRequest("no memory")]):
        bench = MediaBench(tmp_path)
        bench.generator.first_raises = list(errors)
        with pytest.raises(StartError, match="no memory"):
            await bench.started()


@on_virtual_time
async def test_a_model_that_needs_a_picture_begins_its_first_thing_with_one(tmp_path: Path) -> None:
    bench = MediaBench(tmp_path)
    needs = InvalidRequest("needs a picture", param="input_reference")
    bench.generator.first_raises = [needs, InvalidRequest("64 at most", param="width")]
    await bench.started()
    first = [(order.width, len(order.references)) for order in bench.generator.first_orders]
    assert first == [(512, 0), (512, 1), (0, 1)]
    with Image.open(io.BytesIO(bench.generator.first_orders[-1].references[0])) as begins_with:
        assert begins_with.size == (512, 512)


@on_virtual_time
async def test_what_is_left_at_the_end_is_told_and_removed(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1)
    await bench.made(1)
    bench.submit(2)
    bench.submit(3)
    await asyncio.sleep(STEP_S / 2)
    await bench.engine.stop()
    assert [bench.ends[named(number)][0].code for number in (2, 3)] == ["worker_lost"] * 2
    bench.submit(4)
    assert (await bench.end_of(4)).code == "worker_lost"
    assert bench.generator.stopped
    assert not tmp_path.exists()
    assert bench.left == [0, 0, 0]


@on_virtual_time
async def test_one_that_leaves_finishes_what_runs_and_hands_back_what_waits(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1)
    bench.submit(2)
    await asyncio.sleep(STEP_S / 2)
    assert bench.source is not None
    bench.source.hand_back()
    assert (await bench.end_of(2)).code == "worker_lost"
    bench.submit(3)
    assert (await bench.end_of(3)).code == "worker_lost"
    [output] = await bench.made(1)
    assert bench.owed == 1
    await bench.read(output, 0, 4)
    assert bench.owed == 1
    await bench.read(output, 4)
    assert bench.owed == 0
    bench.submit(5)
    assert isinstance(bench.ends[named(1)][0], Diffused)


async def _asked(bench: MediaBench, wait_s: float) -> None:
    _canary(bench)
    await asyncio.sleep(wait_s)
    await asyncio.sleep(0)


def _canary(bench: MediaBench, **fields: Any) -> str:
    bench.engine.abort(CANARY)  # whoever sends them has one at a time
    bench.engine.submit(Diffuse(CANARY, "m", "test", 1 << 60, **fields))
    return CANARY


@on_virtual_time
async def test_nothing_is_left_of_an_order_that_failed(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.generator.too_few = True
    bench.submit(1, previews=2)
    assert isinstance(await bench.end_of(1), Failed)
    assert bench.told[named(1)][0].preview is not None
    assert bench.files == []
