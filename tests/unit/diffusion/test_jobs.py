"""Jobs go on without whoever asked, can be asked for, and are never made twice for nothing."""

import asyncio
from pathlib import Path

from protocol.diffusion import JOBS_LISTED_MAX, AskJobs, Diffuse, Diffused, Output
from protocol.errors import EngineFault, InvalidRequest
from protocol.generation import Finished
from tests.unit.diffusion.media_bench import LOST, STEP_S, MediaBench, named
from tests.unit.encoding.encoder_bench import on_virtual_time
from workers.diffusion.jobs import PROMPT_CHARS_LISTED, Jobs
from workers.diffusion.outputs import Keeping

JOB = "video_1"


@on_virtual_time
async def test_a_job_is_told_of_from_its_arrival_to_its_end(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1)
    bench.submit(2, job_id=JOB, steps=10, seconds=2.0)
    [job] = bench.jobs(JOB)
    assert (job.status, job.percent, job.prompt, job.seconds) == ("queued", 0, "2", 2.0)
    assert job.created_unix_s == int(bench.unix_ms() / 1000)
    await bench.made(1)
    await asyncio.sleep(3.5 * STEP_S)
    [job] = bench.jobs(JOB)
    assert (job.status, job.percent) == ("in_progress", 30)
    assert bench.jobs("another") == []
    outputs = await bench.made(2)
    [job] = bench.jobs()
    assert (job.status, job.percent, job.outputs) == ("completed", 100, outputs)
    assert (job.width, job.completed_unix_s) == (8, int(bench.unix_ms() / 1000))
    assert job.expires_unix_s == bench.ends[named(2)][0].expires_unix_s
    assert bench.owed == 1  # its output is about to be fetched
    await asyncio.sleep(60.0)
    assert bench.owed == 0


@on_virtual_time
async def test_a_job_says_why_it_failed(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.generator.raises = EngineFault("out of memory")
    bench.submit(1, job_id=JOB)
    await bench.end_of(1)
    [job] = bench.jobs(JOB)
    assert (job.status, job.error_code, job.error) == ("failed", "engine_fault", "out of memory")
    assert job.ended_s_ago == 0
    await asyncio.sleep(40.0)
    assert bench.jobs(JOB)[0].ended_s_ago == 40
    bench.submit(2, job_id="video_2")
    await asyncio.sleep(STEP_S / 2)
    assert bench.jobs("video_2")[0].ended_s_ago is None
    bench.engine.abort(named(2))
    [job] = bench.jobs("video_2")
    assert (job.status, job.error_code) == ("failed", "request_aborted")


@on_virtual_time
async def test_one_that_is_forgotten_is_stopped_and_thrown_away(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1, job_id=JOB)
    bench.submit(2, job_id="video_2")
    bench.submit(3, job_id="video_3")
    [output] = await bench.made(1)
    await asyncio.sleep(STEP_S / 2)
    assert [job.status for job in bench.jobs(JOB, forget=True)] == ["completed"]
    assert [job.status for job in bench.jobs("video_2", forget=True)] == ["in_progress"]
    assert [job.status for job in bench.jobs("video_3", forget=True)] == ["queued"]
    assert await bench.end_of(2) == await bench.end_of(3) == Finished("abort", 0, 0)
    assert await bench.read(output) is None
    assert (bench.jobs(), bench.files, bench.owed) == ([], [], 0)
    assert bench.jobs(JOB, forget=True) == []
    assert len(await _asked_without_a_name(bench)) == 0


@on_virtual_time
async def test_one_that_runs_goes_on_for_whoever_asks_for_it_again(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1, job_id=JOB)
    bench.submit(2, job_id="video_2")
    await asyncio.sleep(1.5 * STEP_S)
    bench.submit(11, job_id=JOB)
    bench.submit(12, job_id="video_2")
    assert await bench.end_of(1) == await bench.end_of(2) == Finished("abort", 0, 0)
    assert isinstance(await bench.end_of(11), Diffused)
    assert isinstance(await bench.end_of(12), Diffused)
    assert bench.generator.made == ["1", "2"]
    assert [told.percent for told in bench.told[named(11)]] == [50, 75, 99]


@on_virtual_time
async def test_the_same_request_again_changes_nothing(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1, job_id=JOB)
    await asyncio.sleep(1.5 * STEP_S)
    bench.submit(1, job_id=JOB)
    assert isinstance(await bench.end_of(1), Diffused)
    assert bench.generator.made == ["1"]


@on_virtual_time
async def test_one_that_has_ended_is_told_again_unless_there_is_a_reason_to_make_it(
    tmp_path: Path,
) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1, job_id=JOB)
    outputs = await bench.made(1)
    bench.submit(2, job_id=JOB)
    assert await bench.made(2) == outputs
    bench.generator.raises = InvalidRequest("too large")
    bench.submit(3, job_id="video_3")
    bench.submit(4, job_id="video_3")  # while that waits
    assert (await bench.end_of(4)).message == "too large"
    bench.submit(5, job_id="video_3")
    assert (await bench.end_of(5)).message == "too large"
    assert bench.generator.made == ["1", "3"]
    bench.generator.raises = LOST
    bench.submit(6, job_id="video_6")
    assert (await bench.end_of(6)).code == "worker_lost"
    bench.submit(7, job_id="video_6")
    assert isinstance(await bench.end_of(7), Diffused)
    await asyncio.sleep(2 * 3_600)
    bench.submit(8, job_id=JOB)  # nothing is left of it
    assert len(await bench.made(8)) == 1


@on_virtual_time
async def test_one_that_a_frontend_stopped_is_made_when_it_asks_again(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path).started()
    bench.submit(1, job_id=JOB, job_begun_unix_s=5)
    await asyncio.sleep(STEP_S / 2)
    bench.engine.abort(named(1))  # it thought this worker lost
    bench.submit(2, job_id=JOB, job_begun_unix_s=5)
    assert len(await bench.made(2)) == 1
    [job] = bench.jobs(JOB)
    assert (job.status, job.created_unix_s) == ("completed", 5)


@on_virtual_time
async def test_old_ones_are_forgotten_and_running_ones_never(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path, keeping=Keeping(lifetime_s=100.0)).started()
    bench.submit(1, job_id=JOB)
    await bench.made(1)
    await asyncio.sleep(50.0)
    bench.submit(2, job_id="video_2", steps=200)
    assert [job.job_id for job in bench.jobs()] == [JOB, "video_2"]
    await asyncio.sleep(60.0)
    assert [job.job_id for job in bench.jobs()] == ["video_2"]
    await bench.made(2)
    assert [job.status for job in bench.jobs()] == ["completed"]


@on_virtual_time
async def test_outputs_that_are_dropped_are_listed_no_more(tmp_path: Path) -> None:
    bench = await MediaBench(tmp_path, keeping=Keeping(bytes_max=25)).started()
    for number in range(3):
        bench.submit(number, job_id=f"video_{number}")
        for output in await bench.made(number):
            await bench.read(output)
    assert [len(job.outputs) for job in bench.jobs()] == [0, 1, 1]


def _jobs(now_ms: list[float]) -> Jobs:
    return Jobs(lifetime_s=100.0, unix_ms=lambda: now_ms[0], kept=())


def _order(number: int, prompt: str = "p") -> Diffuse:
    return Diffuse(named(number), "m", prompt, 0, job_id=f"video_{number}")


def test_as_many_are_remembered_as_are_listed() -> None:
    jobs = _jobs([0.0])
    for number in range(JOBS_LISTED_MAX):
        assert jobs.add(_order(number)) is None
    refused = jobs.add(_order(JOBS_LISTED_MAX))
    assert refused is not None
    assert refused.code == "overloaded"
    jobs.progress("video_7", 5)
    jobs.complete("video_3", Diffused([Output("a" * 48, "png", 1, 1, 1)]))
    assert jobs.unfinished == JOBS_LISTED_MAX - 1
    assert jobs.add(_order(JOBS_LISTED_MAX)) is None  # in the place of one that has ended
    assert jobs.find("video_3") is None
    assert len(jobs) == JOBS_LISTED_MAX


def test_lists_are_short() -> None:
    jobs = _jobs([0.0])
    jobs.add(_order(1, "p" * 5_000))
    [listed], [whole] = jobs.tell(AskJobs(named(1))), jobs.tell(AskJobs(named(1), "video_1"))
    assert (len(listed.prompt), len(whole.prompt)) == (PROMPT_CHARS_LISTED, 5_000)


async def _asked_without_a_name(bench: MediaBench) -> list[object]:
    """Asking for all to be forgotten forgets none."""
    bench.submit(20, job_id="video_20")
    told = bench.jobs(forget=True)
    assert [job.job_id for job in bench.jobs()] == ["video_20"]
    bench.jobs("video_20", forget=True)
    await bench.end_of(20)
    return [job for job in told if job.job_id != "video_20"]
