"""Jobs live at their workers; the frontend that began one has it moved, and every one finds it."""

import asyncio

import pytest
from msgspec.structs import replace

from frontend.inflight import jobs as jobs_module
from frontend.inflight.job_memory import MOVE_S_MAX
from frontend.inflight.jobs import Jobs
from frontend.observe.metrics import FrontendMetrics
from protocol.errors import InvalidRequest, Overloaded, PoisonRequest, WorkerLost
from protocol.replies import Failed
from tests.unit.inflight.job_bench import JOB, JobBench, settled

FULL = Failed("overloaded", "full")
CRASHED = Failed("worker_lost", "the generator died")


def other_frontend(bench: JobBench) -> Jobs:
    """Returns what another frontend knows, which began none of them."""
    return Jobs(
        bench.outputs,
        FrontendMetrics().jobs,
        is_connected=lambda worker_id: bench.registry.namesake(worker_id) is not None,
        note_made=lambda _model, _made: None,
        unix_s=lambda: bench.unix_s,
    )


async def status_of(jobs: Jobs) -> str:
    job = await jobs.find(JOB)
    return "" if job is None else job.status


async def test_a_job_is_begun_when_a_worker_has_it() -> None:
    bench = JobBench()
    worker = bench.maker("a")
    job = await bench.begun()
    assert (job.job_id, job.status, len(bench.jobs)) == (JOB, "queued", 1)
    bench.progress(worker, 40)
    await settled()
    found = await bench.jobs.find(JOB)
    assert found is not None
    assert (found.status, found.percent) == ("in_progress", 40)
    bench.complete(worker)
    await settled()
    assert await status_of(bench.jobs) == "completed"
    assert len(bench.jobs) == 0


async def test_any_frontend_finds_it_and_asks_all_workers_once_alone() -> None:
    bench = JobBench()
    bench.maker("a"), bench.maker("b")
    await bench.begun()
    other = other_frontend(bench)
    assert await status_of(other) == "queued"
    asked = len(bench.sent)
    assert await status_of(other) == "queued"
    assert len(bench.sent) == asked + 1
    assert await other.find("b" * 32) is None


async def test_who_is_told_by_all_workers_that_they_are_full_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs_module, "TAKEN_S_MAX", 0.05)
    bench = JobBench()
    for worker_id in ("a", "b"):
        bench.maker(worker_id)
        bench.refusing[worker_id] = FULL
    with pytest.raises(Overloaded):
        await bench.begun()
    assert len(bench.jobs) == 0
    assert await bench.jobs.all() == []


async def test_where_no_queue_has_room_it_is_refused_at_once() -> None:
    bench = JobBench()
    bench.maker("a", queued_max=2)
    await bench.begun()
    await bench.begun("b" * 32)
    with pytest.raises(Overloaded):
        await bench.begun("c" * 32)
    assert len(bench.jobs) == 2


async def test_one_full_worker_is_passed_over() -> None:
    bench = JobBench()
    for worker_id in ("a", "b"):
        bench.maker(worker_id)
    bench.refusing["a"] = FULL
    await bench.begun()
    assert JOB in bench.held["b"]


async def test_what_a_worker_refuses_for_good_is_told_to_who_asked() -> None:
    bench = JobBench()
    bench.maker("a")
    bench.refusing["a"] = Failed("invalid_value", "too large", "size")
    with pytest.raises(InvalidRequest) as raised:
        await bench.begun()
    assert raised.value.param == "size"
    assert await bench.jobs.all() == []


async def test_a_client_that_leaves_before_leaves_nothing_behind() -> None:
    bench = JobBench()
    bench.maker("a")
    bench.mute.add("a")
    begun = asyncio.ensure_future(bench.begun())
    await settled()
    begun.cancel()
    await asyncio.wait([begun])
    assert bench.aborted() == ["a"]
    assert len(bench.jobs) == 0


async def test_a_job_moves_when_its_worker_is_lost() -> None:
    bench = JobBench()
    first = bench.maker("a")
    await bench.begun()
    bench.progress(first, 50)
    second = bench.maker("b")
    other = other_frontend(bench)
    assert await status_of(other) == "in_progress"
    bench.lose(first)
    assert await status_of(bench.jobs) == "queued"
    await settled()
    moved = bench.sent_to("b")
    assert (moved.job_id, moved.request_id != JOB) == (JOB, True)
    assert await status_of(other) == "queued"
    bench.complete(second)
    await settled()
    assert await status_of(bench.jobs) == await status_of(other) == "completed"


async def test_while_it_moves_other_frontends_say_that_it_waits() -> None:
    bench = JobBench()
    worker = bench.maker("a")
    await bench.begun()
    other = other_frontend(bench)
    assert await status_of(other) == "queued"
    bench.lose(worker)
    assert await status_of(other) == "queued"


async def test_without_workers_it_has_failed_and_every_frontend_that_knew_it_says_so() -> None:
    bench = JobBench()
    worker = bench.maker("a")
    await bench.begun()
    other = other_frontend(bench)
    assert await status_of(other) == "queued"
    bench.lose(worker)
    await settled()
    job = await bench.jobs.find(JOB)
    assert job is not None
    assert (job.status, job.error_code) == ("failed", "worker_lost")
    assert [each.status for each in await bench.jobs.all()] == ["failed"]
    later = other._memory._known[JOB]
    assert await status_of(other) == "queued"
    assert later.missed_at is not None
    later.missed_at -= MOVE_S_MAX + 1
    assert await status_of(other) == "failed"
    assert await status_of(other_frontend(bench)) == ""


async def test_a_job_that_its_worker_forgot_is_not_there() -> None:
    bench = JobBench()
    worker = bench.maker("a")
    await bench.begun()
    bench.complete(worker)
    await settled()
    bench.held["a"].clear()
    assert await bench.jobs.find(JOB) is None


async def test_what_was_made_is_lost_with_its_worker_unless_that_comes_back() -> None:
    bench = JobBench()
    worker = bench.maker("a")
    await bench.begun()
    bench.complete(worker)
    await settled()
    bench.lose(worker)
    assert await status_of(bench.jobs) == "completed"
    missed = bench.jobs._memory._known[JOB]
    assert missed.missed_at is not None
    missed.missed_at -= MOVE_S_MAX + 1
    job = await bench.jobs.find(JOB)
    assert job is not None
    assert (job.status, job.error_code) == ("failed", "worker_lost")


async def test_a_generator_that_died_is_no_failure_while_it_is_tried_elsewhere() -> None:
    bench = JobBench()
    worker = bench.maker("a")
    await bench.begun()
    other = other_frontend(bench)
    bench.fail(worker, CRASHED)
    assert await status_of(other) == "queued"
    await settled()
    assert await status_of(bench.jobs) == "queued"
    bench.complete(worker)
    await settled()
    assert await status_of(other) == "completed"


async def test_clocks_of_other_hosts_do_not_say_whether_a_job_moves() -> None:
    bench = JobBench()
    worker = bench.maker("a")
    await bench.begun()
    other = other_frontend(bench)
    bench.fail(worker, CRASHED)
    [told] = bench.held["a"].values()
    for skew_s in (-3_600, 0, 3_600):
        failed = replace(told, completed_unix_s=told.completed_unix_s + skew_s)
        for ended_s_ago, status in ((0, "queued"), (31, "failed"), (None, "failed")):
            bench.held["a"][JOB] = replace(failed, ended_s_ago=ended_s_ago)
            assert await status_of(other) == status


async def test_a_job_that_generators_die_of_fails() -> None:
    bench = JobBench()
    worker = bench.maker("a")
    await bench.begun()
    for _ in range(4):
        bench.fail(worker, CRASHED)
        await settled()
    job = await bench.jobs.find(JOB)
    assert job is not None
    assert (job.status, job.error_code) == ("failed", WorkerLost.code)
    assert [each.status for each in await bench.jobs.all()] == ["failed"]


async def test_a_twin_of_what_workers_died_of_is_refused() -> None:
    bench = JobBench()
    workers = [bench.maker(worker_id) for worker_id in "abc"]
    await bench.begun()
    for worker in workers[:2]:
        bench.lose(worker)
        await settled()
    job = await bench.jobs.find(JOB)
    assert job is not None
    assert (job.status, job.error_code) == ("failed", PoisonRequest.code)
    with pytest.raises(PoisonRequest):
        await bench.begun("b" * 32)


@pytest.mark.parametrize("at", ["queued", "in_progress", "completed", "failed"])
async def test_a_job_is_thrown_away_whatever_it_is(at: str) -> None:
    bench = JobBench()
    worker = bench.maker("a")
    await bench.begun()
    if at == "in_progress":
        bench.progress(worker, 10)
    if at == "completed":
        bench.complete(worker)
    if at == "failed":
        bench.fail(worker, Failed("engine_fault", "no"))
    await settled()
    job = await bench.jobs.forget(JOB)
    assert job is not None
    assert job.status == at
    await settled()
    assert await bench.jobs.find(JOB) is None
    assert await bench.jobs.all() == []
    assert await bench.jobs.forget(JOB) is None
    assert len(bench.jobs) == 0


async def test_a_job_thrown_away_through_another_frontend_is_none_here() -> None:
    bench = JobBench()
    worker = bench.maker("a")
    await bench.begun()
    bench.progress(worker, 10)
    other = other_frontend(bench)
    assert await other.forget(JOB) is not None
    await settled()
    assert await bench.jobs.find(JOB) is None
    assert await bench.jobs.all() == []


async def test_a_job_that_has_no_worker_at_the_moment_can_be_thrown_away() -> None:
    bench = JobBench()
    first = bench.maker("a")
    await bench.begun()
    bench.lose(first, "silent")
    bench.registry.missed.note(first, "silent", bench.loop.time())
    await settled()
    assert await status_of(bench.jobs) == "queued"
    job = await bench.jobs.forget(JOB)
    assert job is not None
    second = bench.maker("b")
    bench.dispatch.note_room(second)
    await settled()
    assert bench.held["b"] == {}
    assert await bench.jobs.find(JOB) is None


async def test_of_two_tellings_the_furthest_counts() -> None:
    bench = JobBench()
    first = bench.maker("a")
    await bench.begun()
    second = bench.maker("b")
    kept = dict(bench.held["a"])
    bench.lose(first, "silent")
    await settled()
    bench.held["a"] = kept
    back = bench.maker("a")
    bench._change(back, JOB, status="in_progress", percent=70)
    job = await other_frontend(bench).find(JOB)
    assert job is not None
    assert job.percent == 70
    bench.complete(second)
    await settled()
    assert await status_of(bench.jobs) == "completed"
    assert [each.status for each in await bench.jobs.all()] == ["completed"]


async def test_a_frontend_that_leaves_leaves_the_jobs_to_their_workers() -> None:
    bench = JobBench()
    worker = bench.maker("a")
    await bench.begun()
    await bench.jobs.close()
    bench.lose(worker, "stopped")
    assert bench.aborted() == []
    assert len(bench.jobs) == 0


async def test_what_is_watched_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = JobBench()
    bench.maker("a")
    monkeypatch.setattr(jobs_module, "REFERENCE_BYTES_MAX", 10)
    await bench.jobs.begin(bench.diffusion(references=[b"1" * 20]))
    with pytest.raises(Overloaded):
        await bench.begun("b" * 32)
    monkeypatch.setattr(jobs_module, "REFERENCE_BYTES_MAX", 20)
    await bench.begun("b" * 32)
    monkeypatch.setattr(jobs_module, "WATCHED_MAX", 2)
    with pytest.raises(Overloaded):
        await bench.begun("c" * 32)
