"""Whatever befalls orders, in whatever order: each ends once, what is kept keeps to its bounds,
jobs are told as they are, and nothing is left.
"""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from protocol.diffusion import Diffuse, Diffused, Output
from protocol.errors import EngineFault
from protocol.generation import Finished
from protocol.replies import Failed
from tests.unit.diffusion.media_bench import LOST, STEP_S, MediaBench, named
from tests.unit.encoding.encoder_bench import on_virtual_time
from workers.diffusion.outputs import Keeping
from workers.engine import CANARY_PREFIX

BYTES_MAX = 60
NUMBERS = st.integers(0, 5)
JOBS = st.sampled_from(["", "", "video_1", "video_2"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), JOBS, st.integers(0, 2), st.sampled_from([3.0, 100.0])),
        st.tuples(st.just("submit"), JOBS, st.integers(0, 2), st.sampled_from([3.0, 100.0])),
        st.tuples(st.just("abort"), NUMBERS),
        st.tuples(st.just("forget"), JOBS),
        st.tuples(st.just("wait"), st.sampled_from([0.0, STEP_S / 3, STEP_S, 10 * STEP_S, 70.0])),
        st.tuples(st.just("read"), NUMBERS, st.integers(0, 10)),
        st.tuples(st.just("size"), st.sampled_from([10, 30, 61])),
        st.tuples(st.just("raise"), st.booleans()),
        st.tuples(st.just("slow back")),
        st.tuples(st.just("slow to write"), st.sampled_from([0.0, STEP_S / 3, 20 * STEP_S])),
        st.tuples(st.just("hand back")),
    ),
    max_size=30,
)


class _Ordered:
    """What was asked of one engine."""

    def __init__(self, bench: MediaBench) -> None:
        self.bench = bench
        self.asked = 0

    async def do(self, step: tuple[Any, ...]) -> None:
        bench = self.bench
        match step:
            case ("submit", job_id, previews, within_s):
                bench.submit(
                    self.asked, job_id=job_id, previews=previews, count=2, within_s=within_s
                )
                self.asked += 1
            case ("abort", number):
                bench.engine.abort(named(number))
            case ("forget", job_id):
                bench.jobs(job_id, forget=True)
            case ("wait", seconds):
                await asyncio.sleep(seconds)
            case ("read", number, size):
                for output in self.outputs(number):
                    data = await bench.read(output, 0, size)
                    assert data is None or len(data) == min(size, output.size_bytes)
            case _:
                self._befall(step)
        assert bench.outputs.size_bytes <= BYTES_MAX
        for job in bench.jobs():
            assert job.status != "completed" or all(
                each.output_id in bench.outputs for each in job.outputs
            )

    def _befall(self, step: tuple[Any, ...]) -> None:
        bench = self.bench
        match step:
            case ("size", size_bytes):
                bench.generator.size_bytes = size_bytes
            case ("raise", lost):
                bench.generator.raises = LOST if lost else EngineFault("injected")
            case ("slow back",):
                bench.generator.back_s = 5.0
            case ("slow to write", write_s):
                bench.generator.write_s = write_s
            case ("hand back",):
                assert bench.source is not None
                bench.source.hand_back()
            case _:
                raise AssertionError(step)

    def outputs(self, number: int) -> list[Output]:
        return [
            output
            for end in self.bench.ends[named(number)]
            if isinstance(end, Diffused)
            for output in end.outputs
        ]


@given(steps=STEPS)
def test_every_order_ends_once(steps: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as folder:
        _lived(steps, Path(folder))


@on_virtual_time
async def _lived(steps: list[tuple[Any, ...]], folder: Path) -> None:
    keeping = Keeping(bytes_max=BYTES_MAX, lifetime_s=1_000.0)
    bench = await MediaBench(folder, keeping=keeping).started()
    ordered = _Ordered(bench)
    for step in steps:
        await ordered.do(step)
    await asyncio.sleep(100 * STEP_S * (1 + len(steps)))
    assert bench.left == [0, 0, 0]
    assert bench.load == (0, 0, 0)
    assert bench.owed == 0
    assert sorted(bench.files) == sorted(
        f"images/{output_id}.png" for output_id in bench.outputs._kept
    )
    assert list(folder.glob("making-*")) == []
    for number in range(ordered.asked):
        [end] = bench.ends[named(number)]
        assert isinstance(end, Diffused | Failed | Finished)
        percents = [told.percent for told in bench.told[named(number)]]
        assert percents == sorted(percents)
    await asyncio.sleep(2_000.0)
    assert (bench.files, bench.jobs()) == ([], [])


@given(steps=STEPS)
def test_canaries_are_answered_in_whatever_happens(steps: list[tuple[Any, ...]]) -> None:
    _asked(steps, Path(mkdtemp()))


@on_virtual_time
async def _asked(steps: list[tuple[Any, ...]], folder: Path) -> None:
    bench = await MediaBench(folder, keeping=Keeping(bytes_max=BYTES_MAX)).started()
    ordered = _Ordered(bench)
    for number, step in enumerate(steps):
        await ordered.do(step)
        canary = f"{CANARY_PREFIX}{number:020x}"
        bench.engine.submit(Diffuse(canary, "m", "test", 1 << 60))
        await asyncio.sleep(STEP_S / 10)
        assert len(bench.ends[canary]) == 1
    await bench.engine.stop()
    assert not folder.exists()
