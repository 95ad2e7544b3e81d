"""Jobs of videos outlive their frontends and their workers."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Video

from starter.addresses import Addresses
from starter.process import Process
from tests.fleet.made_videos import (
    LARGE,
    SOME,
    WORKER,
    asking,
    begin,
    begin_long,
    metric,
    second_frontend,
    wait_for,
)
from tests.kit.fleet import Fleet

ENDS = ("completed", "failed")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """An empty fleet, killed at the end: a worker that leaves waits for whoever may fetch."""
    fleet = Fleet(tmp_path)
    yield fleet
    for process in fleet.processes:
        process.kill()


def test_any_frontend_tells_of_a_job_and_has_it_stopped(fleet: Fleet) -> None:
    fleet.frontend()
    other, _ = second_frontend(fleet)
    fleet.worker(*WORKER, "--frontend", other.mesh)
    fleet.wait_for_workers(1)
    with fleet.client() as here, asking(other) as there:
        done = here.videos.poll(begin(here).id, poll_interval_ms=50)
        video = begin_long(here)
        assert wait_for(there, video, fleet, "in_progress").created_at == video.created_at
        assert {each.id for each in there.videos.list()} == {done.id, video.id}
        content = there.videos.download_content(done.id).read()
        assert content == here.videos.download_content(done.id).read()
        there.videos.delete(video.id)
        with pytest.raises(openai.NotFoundError):
            here.videos.retrieve(video.id)
        fleet.wait_until(
            lambda: metric(fleet, "kvmesh_frontend_jobs ") == 0, "it is watched no more"
        )
        assert [each.id for each in here.videos.list()] == [done.id]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_goes_on_without_the_frontend_that_began_it(fleet: Fleet, how: int) -> None:
    frontend = fleet.frontend("--graceful-shutdown-grace-period-secs", "0")
    other, _ = second_frontend(fleet)
    fleet.worker(*WORKER, "--frontend", other.mesh)
    fleet.wait_for_workers(1)
    with fleet.client() as here, asking(other) as there:
        running = begin(here, SOME, LARGE)
        waiting = begin(here)
        wait_for(here, running, fleet, "in_progress")
        assert there.videos.retrieve(waiting.id).status == "queued"
        if how == signal.SIGKILL:
            frontend.kill()
        else:
            assert frontend.stop(how) == 0
            assert there.videos.retrieve(running.id).status == "in_progress"
        for video in (running, waiting):
            assert wait_for(there, video, fleet, *ENDS).status == "completed"
            assert there.videos.download_content(video.id).read()


def test_a_job_moves_when_its_worker_is_killed(fleet: Fleet) -> None:
    fleet.frontend()
    other, _ = second_frontend(fleet)
    with fleet.client() as here, asking(other) as there:
        videos, first = _on_one_worker(fleet, here, other, count=3)
        fleet.worker(*WORKER, "--frontend", other.mesh)
        fleet.wait_for_workers(2)
        wait_for(there, videos[0], fleet, "in_progress")
        assert [there.videos.retrieve(each.id).status for each in videos[1:]] == ["queued"] * 2
        first.kill()
        for video in videos:
            for client in (there, here):
                done = wait_for(client, video, fleet, *ENDS)
                assert (done.status, done.created_at) == ("completed", video.created_at)
            assert there.videos.download_content(video.id).read()
    assert metric(fleet, "kvmesh_frontend_migrations_total", 'outcome="moved"') == 3


def test_a_worker_that_leaves_gives_back_what_waits_there(fleet: Fleet) -> None:
    fleet.frontend()
    other, _ = second_frontend(fleet)
    with fleet.client() as here, asking(other) as there:
        videos, first = _on_one_worker(fleet, here, other, count=3)
        wait_for(there, videos[0], fleet, "in_progress")
        fleet.worker(*WORKER, "--frontend", other.mesh)
        fleet.wait_for_workers(2)
        first.popen.send_signal(signal.SIGTERM)
        for video in videos[1:]:
            assert wait_for(there, video, fleet, *ENDS).status == "completed"
        assert wait_for(there, videos[0], fleet, *ENDS).status == "completed"


def test_without_workers_a_job_has_failed_and_says_why(fleet: Fleet) -> None:
    fleet.frontend()
    worker = fleet.worker(*WORKER)
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        video = begin_long(client)
        wait_for(client, video, fleet, "in_progress")
        worker.kill()
        failed = wait_for(client, video, fleet, *ENDS)
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.code == "worker_lost"
        assert [each.status for each in client.videos.list()] == ["failed"]
        assert client.videos.delete(video.id).deleted
        assert client.videos.list().data == []


def test_a_generator_that_dies_once_makes_it_the_next_time(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*WORKER, "--sim-fault", "engine-death-after-tokens=20")
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        video = begin(client, {"nvext": {"fps": 8, "num_inference_steps": 30}}, LARGE)
        assert wait_for(client, video, fleet, *ENDS).status == "completed"


def test_a_job_that_generators_die_of_fails(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*WORKER, "--sim-request-faults")
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        deadly: dict[str, Any] = {"nvext": {"seed": 770_005}}
        failed = wait_for(client, begin(client, deadly), fleet, *ENDS)
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.code == "worker_lost"
        video = client.videos.poll(begin(client).id, poll_interval_ms=50)
        assert video.status == "completed"


def test_a_worker_that_stood_still_makes_it_when_it_is_back(fleet: Fleet) -> None:
    fleet.frontend()
    worker = fleet.worker(*WORKER)
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        video = begin(client, SOME, LARGE)
        wait_for(client, video, fleet, "in_progress")
        worker.popen.send_signal(signal.SIGSTOP)
        fleet.wait_until(
            lambda: metric(fleet, "kvmesh_frontend_workers_lost_total") == 1, "it is lost"
        )
        assert client.videos.retrieve(video.id).status == "queued"
        worker.popen.send_signal(signal.SIGCONT)
        assert wait_for(client, video, fleet, *ENDS).status == "completed"


def _on_one_worker(
    fleet: Fleet, client: openai.OpenAI, other: Addresses, *, count: int
) -> tuple[list[Video], Process]:
    """Begin jobs on a worker that two frontends know, of which the first takes a while."""
    worker = fleet.worker(*WORKER, "--frontend", other.mesh)
    fleet.wait_for_workers(1)
    first = begin(client, SOME, LARGE)
    return [first, *(begin(client) for _ in range(count - 1))], worker
