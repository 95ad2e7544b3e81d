"""What a worker says of its health while it makes something, or nothing, or stands still."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from protocol.diffusion import Diffuse
from protocol.process.start_error import StartError
from protocol.replies import Delta
from tests.unit.diffusion.media_bench import LOST, NOW_MS, MediaBench, named
from tests.unit.encoding.encoder_bench import on_virtual_time
from workers.diffusion.pace import FIRST_STEP_S_MAX, STEP_S_MIN
from workers.health.canary import CanaryFields
from workers.health.rank_watch import HealthLimits
from workers.health.watched_engine import HealthSettings, WatchedEngine
from workers.kinds.image_diffusion import IMAGE_DIFFUSION

ANSWER_S = 3.0
TOLERATED_S = 60.0
"""What `workers/health/` tolerates itself of an engine with much to do."""


class _Watched:
    """A watched engine, beaten as a worker beats."""

    def __init__(self, folder: Path) -> None:
        self.bench = MediaBench(folder)
        loop = asyncio.get_running_loop()
        self.watched = WatchedEngine(
            self.bench.engine,
            HealthSettings(limits=HealthLimits(idle_silence_s=10.0, answer_s=ANSWER_S)),
            canaries=IMAGE_DIFFUSION.canaries,
            clock=loop.time,
        )
        self.complaints: list[tuple[float, str]] = []

    async def started(self) -> "_Watched":
        await self.watched.start(self._take, lambda _: None)
        return self

    def submit(self, number: int, **fields: int | str) -> None:
        order = Diffuse(named(number), "m", str(number), int(NOW_MS * 1_000), **fields)  # type: ignore[arg-type]
        self.watched.submit(order)

    async def beat(self, seconds: float) -> str:
        """Lives on for a while; returns what is wrong at its end."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        while loop.time() < ends_at:
            self.watched.check()
            await asyncio.sleep(0.25)
            if self.watched.reason:
                self.complaints.append((loop.time(), self.watched.reason))
        return self.watched.reason

    def _take(self, deltas: Sequence[Delta]) -> None:
        self.bench._deliver([each for each in deltas if each.request_id < "1"])


@on_virtual_time
async def test_an_idle_worker_and_a_busy_one_are_healthy(tmp_path: Path) -> None:
    watched = await _Watched(tmp_path).started()
    await watched.beat(60.0)
    watched.submit(1, steps=100)
    watched.submit(2)
    await watched.beat(120.0)
    assert watched.complaints == []
    assert [each.unfinished for each in watched.watched.ranks] == [0]


@on_virtual_time
async def test_steps_that_take_minutes_are_no_illness(tmp_path: Path) -> None:
    watched = await _Watched(tmp_path).started()
    watched.bench.generator.step_s = STEP_S_MIN - 5
    watched.submit(1)
    await watched.beat(1_000.0)
    assert watched.complaints == []
    assert len(watched.bench.ends[named(1)]) == 1


@on_virtual_time
async def test_a_generator_that_stands_still_is_found_out(tmp_path: Path) -> None:
    watched = await _Watched(tmp_path).started()
    watched.submit(1, steps=100)
    await watched.beat(10.0)
    watched.bench.generator.hangs = True
    begun_at = asyncio.get_running_loop().time()
    await watched.beat(2 * STEP_S_MIN)
    found_after_s = watched.complaints[0][0] - begun_at
    assert STEP_S_MIN + ANSWER_S - 2 < found_after_s < STEP_S_MIN + TOLERATED_S + 2
    watched.bench.generator.hangs = False
    assert await watched.beat(5.0) == ""


@on_virtual_time
async def test_one_that_hangs_before_its_first_step_is_found_out_later(tmp_path: Path) -> None:
    watched = await _Watched(tmp_path).started()
    watched.bench.generator.hangs = True
    watched.submit(1)
    assert await watched.beat(FIRST_STEP_S_MAX) == ""
    assert "has not answered" in await watched.beat(TOLERATED_S + 10)


@on_virtual_time
async def test_an_idle_one_that_cannot_work_says_so(tmp_path: Path) -> None:
    watched = await _Watched(tmp_path).started()
    await watched.beat(5.0)
    watched.bench.generator.raises = LOST
    assert await watched.beat(15.0) == ""  # it was asked again
    assert "its process died" in watched.complaints[-1][1]
    watched.bench.generator.hangs = True
    assert "has not answered" in await watched.beat(20.0)


@on_virtual_time
async def test_a_job_that_is_asked_for_again_counts_once(tmp_path: Path) -> None:
    watched = await _Watched(tmp_path).started()
    watched.submit(1, job_id="video_1")
    await watched.beat(2.0)
    watched.submit(1, job_id="video_1")
    watched.submit(2, job_id="video_1")
    await watched.beat(20.0)
    assert [each.unfinished for each in watched.watched.ranks] == [0]


@on_virtual_time
async def test_a_payload_of_other_workers_is_refused(tmp_path: Path) -> None:
    bench = MediaBench(tmp_path)
    watched = WatchedEngine(
        bench.engine,
        HealthSettings(canary=CanaryFields(max_new_tokens=5)),
        canaries=IMAGE_DIFFUSION.canaries,
        clock=asyncio.get_running_loop().time,
    )
    with pytest.raises(StartError, match="max_new_tokens is for other types of worker"):
        await watched.start(lambda _: None, lambda _: None)
