"""Workers that make pictures and videos, told by a frontend that is written by hand."""

import io
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image

from protocol.generation import Finished
from protocol.membership import Draining, Goodbye, Heartbeat, Hello
from protocol.process.own_directory import OWN_DIRECTORY
from protocol.process.start_error import EXIT_CANNOT_START
from protocol.replies import Failed
from protocol.requests import Abort
from starter.process import Process
from tests.fault.media_peer import MediaPeer
from tests.kit.fleet import Fleet

PICTURES = ("--image-diffusion-worker", "--sim-step-ms", "1")
JOB = "ab" * 16
VIDEOS = ("--video-generation-worker", "--sim-step-ms", "1")


def test_pictures_are_made_and_fetched_in_pieces(fleet: Fleet) -> None:
    with MediaPeer(fleet.mesh) as peer:
        fleet.worker(*PICTURES)
        hello = peer.wait_for(Hello)
        assert (hello.service, hello.card.name) == ("images", "sim-images")
        outputs = peer.made(peer.order(count=2, seed=3, width=96, height=64))
        assert [(each.width, each.height, each.seed) for each in outputs] == [
            (96, 64, 3),
            (96, 64, 4),
        ]
        first, second = (peer.fetch(each.output_id, 1_000) for each in outputs)
        assert first
        assert second
        assert first != second
        assert len(first) == outputs[0].size_bytes
        with Image.open(io.BytesIO(first)) as picture:
            assert (picture.format, picture.size) == ("PNG", (96, 64))
        again = peer.made(peer.order(seed=4, width=96, height=64))
        assert peer.fetch(again[0].output_id) == second
        assert peer.fetch("0" * 48) is None


def test_a_video_is_one_file_with_its_frames(fleet: Fleet) -> None:
    with MediaPeer(fleet.mesh) as peer:
        fleet.worker(*VIDEOS)
        hello = peer.wait_for(Hello)
        assert (hello.service, hello.card.name) == ("videos", "sim-videos")
        [output] = peer.made(peer.order(format="mp4", frames=6, fps=3, width=64, height=64))
        assert (output.frames, output.fps) == (6, 3.0)
        film = peer.fetch(output.output_id)
        assert film is not None
        assert film[4:8] == b"ftyp"


def test_progress_is_told_and_previews_can_be_fetched(fleet: Fleet) -> None:
    with MediaPeer(fleet.mesh) as peer:
        fleet.worker("--image-diffusion-worker", "--sim-step-ms", "100")
        peer.wait_for(Hello)
        request_id = peer.order(steps=10, previews=2)
        shown = next(
            told
            for told in iter(lambda: peer.progress(request_id), None)
            if told.preview is not None
        )
        assert shown.preview is not None
        assert peer.fetch(shown.preview.output_id)
        peer.made(request_id)
        percents = [told.percent for told in peer.all_progress(request_id)]
        assert percents == sorted(set(percents))


def test_one_that_is_aborted_ends_at_once_and_the_next_one_begins(fleet: Fleet) -> None:
    with MediaPeer(fleet.mesh) as peer:
        fleet.worker("--image-diffusion-worker")
        peer.wait_for(Hello)
        endless = {"steps": 1_000, "width": 1_024, "height": 1_024}  # most of a minute
        running, waiting = peer.order(**endless), peer.order(**endless)
        last = peer.order(steps=1)
        peer.progress(running)
        peer.send(Abort(waiting))
        peer.send(Abort(running))
        assert peer.end_of(waiting).end == Finished("abort", 0, 0)
        assert peer.end_of(running).end == Finished("abort", 0, 0)
        assert len(peer.made(last)) == 1


def test_failures_are_told_with_their_field_and_what_died_is_started_anew(fleet: Fleet) -> None:
    with MediaPeer(fleet.mesh) as peer:
        worker = fleet.worker(*PICTURES, "--sim-request-faults", "--sim-startup-s", "0.5")
        peer.wait_for(Hello)
        refused = peer.end_of(peer.order(width=10_000)).end
        assert isinstance(refused, Failed)
        assert (refused.code, refused.param) == ("invalid_value", "width")
        failed = peer.end_of(peer.order(seed=770_001)).end
        assert isinstance(failed, Failed)
        assert failed.code == "engine_fault"
        lost, after = peer.order(seed=770_005), peer.order()
        died = peer.end_of(lost).end
        assert isinstance(died, Failed)
        assert died.code == "worker_lost"
        assert len(peer.made(after)) == 1
        late = peer.end_of(peer.order(deadline_unix_ms=1)).end
        assert isinstance(late, Failed)
        assert late.code == "deadline_exceeded"
        assert worker.popen.poll() is None


def test_a_job_goes_on_without_its_frontend(fleet: Fleet) -> None:
    with MediaPeer(fleet.mesh) as peer:
        fleet.worker("--image-diffusion-worker", "--sim-step-ms", "200")
        peer.wait_for(Hello)
        peer.order(job_id=JOB, steps=20)
        peer.order(steps=1_000)  # nobody waits for this one soon
        assert peer.job_until(JOB, "in_progress").prompt == "a lighthouse"
    with MediaPeer(fleet.mesh) as peer:  # one that was started anew
        peer.wait_for(Hello)
        again = peer.order(job_id=JOB, steps=20)
        [output] = peer.made(again)
        job = peer.job_until(JOB, "completed")
        assert [each.output_id for each in job.outputs] == [output.output_id]
        assert peer.made(peer.order(job_id=JOB)) == [output]
        assert peer.fetch(output.output_id)
        assert len(peer.jobs(JOB, forget=True)) == 1
        assert peer.jobs() == []
        assert peer.fetch(output.output_id) is None
        peer.wait_for(Heartbeat, lambda beat: beat.ranks[0].requests_running == 0)


def test_one_that_leaves_finishes_hands_back_and_waits_until_it_is_fetched(fleet: Fleet) -> None:
    with MediaPeer(fleet.mesh) as peer:
        worker = fleet.worker("--image-diffusion-worker", "--sim-step-ms", "300")
        peer.wait_for(Hello)
        running, waiting = peer.order(steps=10), peer.order(job_id=JOB)
        peer.progress(running)
        worker.popen.send_signal(signal.SIGTERM)
        peer.wait_for(Draining)
        back = peer.end_of(waiting).end
        assert isinstance(back, Failed)
        assert back.code == "worker_lost"
        [output] = peer.made(running)
        assert peer.chunk(output.output_id, 0, 1_000).output == output
        assert peer.fetch(output.output_id)
        peer.wait_for(Goodbye)
        assert worker.popen.wait(10) == 0
        assert _folders(worker) == []


def test_what_was_made_is_gone_with_its_worker(fleet: Fleet) -> None:
    with MediaPeer(fleet.mesh) as peer:
        worker = fleet.worker(*PICTURES)
        peer.wait_for(Hello)
        peer.made(peer.order())
        assert len(_folders(worker)) == 1
        worker.popen.kill()
        worker.popen.wait(10)
        assert len(_folders(worker)) == 1
        other = fleet.worker(*PICTURES)  # which clears up behind the dead
        peer.wait_for(Hello)
        assert _folders(worker) == []
        assert len(_folders(other)) == 1


def test_results_lie_in_a_storage_and_are_found_there(fleet: Fleet, tmp_path: Path) -> None:
    url = "https://pictures.example/made"
    with MediaPeer(fleet.mesh) as peer:
        there = f"file://{tmp_path}/media"
        worker = fleet.worker(
            *PICTURES, "--media-output-fs-url", there, "--media-output-http-url", url
        )
        peer.wait_for(Hello)
        [output] = peer.made(peer.order())
        assert output.url == f"{url}/images/{output.output_id}.png"
        lies_at = tmp_path / "media" / "images" / f"{output.output_id}.png"
        assert lies_at.read_bytes() == peer.fetch(output.output_id)
        shutil.rmtree(tmp_path / "media" / "images")
        (tmp_path / "media" / "images").write_bytes(b"no folder any more")
        failed = peer.end_of(peer.order()).end
        assert isinstance(failed, Failed)
        assert (failed.code, failed.message) == (
            "engine_fault",
            "What was made could not be stored.",
        )
        assert worker.popen.poll() is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--media-output-fs-url", "file:///proc/none"), "nothing can be stored there"),
        (("--media-output-http-url", "https://x.example"), "goes with --media-output-fs-url"),
        (("--media-output-lifetime-secs", "1e15"), "must be 1 to 31622400"),
        (("--embedding-worker",), "exclude each other"),
        (("--dyn-tool-call-parser", "auto"), "has no parsers"),
        (("--sim-fault", "start-error"), "does not start"),
        (("--sim-fault", "error-every=1"), "the first thing to be made failed"),
    ],
)
def test_what_cannot_start_says_so_in_one_line(
    options: tuple[str, ...], told: str, fleet: Fleet
) -> None:
    worker = fleet.worker(*PICTURES, *options)
    assert worker.popen.wait(20) == EXIT_CANNOT_START
    [line] = [line for line in worker.output().splitlines() if "cannot start" in line]
    assert told in line


def _folders(worker: Process) -> list[Path]:
    """What a worker has made, or a dead one left."""
    return [*OWN_DIRECTORY.glob(f"of-{worker.popen.pid}-*/made-*")]
