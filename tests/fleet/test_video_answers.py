"""Videos that their client waits for: whole answers in the reference product's form, and events."""

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any, Final

import httpx
import openai
import pytest

from tests.fleet.made_videos import LARGE, LONG, MODEL, QUICK, SMALL, WORKER, begin_long, wait_for
from tests.fleet.pictures import picture
from tests.kit.fleet import Fleet

ASKED: Final[dict[str, Any]] = {
    "model": MODEL,
    "prompt": "a red circle on blue",
    "seconds": 1,
    "size": SMALL,
    **QUICK,
}
ENDLESS: Final[dict[str, Any]] = ASKED | {"size": LARGE, **LONG}
MUTE: Final[dict[str, Any]] = ASKED | {"nvext": {"seed": 770_003}}
"""Is never made."""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A frontend with a worker that makes videos, and fails as it is asked to."""
    fleet = Fleet(tmp_path_factory.mktemp("films"))
    fleet.frontend()
    worker = fleet.worker(*WORKER, "--sim-request-faults")
    fleet.wait_for_workers(1)
    yield fleet
    worker.kill()  # one that leaves waits for whoever may be about to fetch
    fleet.stop()


def post(fleet: Fleet, body: dict[str, Any], path: str = "", **options: Any) -> httpx.Response:
    return httpx.post(f"{fleet.url}/v1/videos{path}", json=body, timeout=60, **options)


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    events: list[tuple[str, dict[str, Any]]] = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in lines and lines["data"] != "[DONE]":
            events.append((lines.get("event", ""), json.loads(lines["data"])))
    return events


def running(fleet: Fleet) -> int:
    """How many requests wait or run, by what the frontend counts and by what the worker says."""
    (worker,) = fleet.get("/health")[1]["workers"]
    return max(*worker["requests"], *worker["engine_requests"])


def test_a_whole_answer_has_the_video_itself(films: Fleet) -> None:
    asked = ASKED | {"nvext": QUICK["nvext"] | {"seed": 5}}
    by_url = post(films, asked | {"response_format": "url"}).json()
    assert (by_url["object"], by_url["model"]) == ("video", MODEL)
    assert (by_url["status"], by_url["progress"], by_url["error"]) == ("completed", 100, None)
    assert by_url["id"].startswith("video_")
    assert by_url["inference_time_s"] > 0
    (made,) = by_url["data"]
    assert (made["output_format"], made["frames"], made["fps"]) == ("mp4", 8, 8.0)
    assert made["url"].startswith(f"{films.url}/v1/media/")
    by_value = post(films, asked | {"response_format": "b64_json"}).json()
    data = base64.b64decode(by_value["data"][0]["b64_json"])
    assert data == httpx.get(made["url"]).content
    assert data[4:8] == b"ftyp"


def test_it_is_no_job(films: Fleet) -> None:
    video_id = post(films, ASKED | {"response_format": "url"}).json()["id"]
    assert httpx.get(f"{films.url}/v1/videos/{video_id}").status_code == 404
    with films.client() as client:
        assert client.videos.list().data == []


def test_a_form_is_answered_as_a_whole_too(films: Fleet) -> None:
    fields = {
        "prompt": "a red circle",
        "seconds": "1",
        "size": SMALL,
        "response_format": "url",
        "nvext[fps]": "8",
        "nvext[num_inference_steps]": "2",
    }
    files = {"input_reference": ("red.png", picture("red"), "image/png")}
    answer = httpx.post(f"{films.url}/v1/videos", data=fields, files=files, timeout=60)
    assert answer.json()["data"][0]["frames"] == 8


@pytest.mark.parametrize(
    ("seed", "status", "code"), [(770_001, 500, "engine_fault"), (770_005, 502, "worker_lost")]
)
def test_a_failure_is_an_error(films: Fleet, seed: int, status: int, code: str) -> None:
    asked = ASKED | {"nvext": {"seed": seed}}
    answer = post(films, asked | {"response_format": "url"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    (*_, (_, told)) = events_of(post(films, asked, "/stream").text)
    assert told["error"]["code"] == code


def test_what_the_worker_refuses_names_the_field(films: Fleet) -> None:
    too_much = ASKED | {"size": "4096x4096", "nvext": {"num_frames": 4_096, "fps": 1_0}}
    del too_much["seconds"]
    answer = post(films, too_much | {"response_format": "url"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")
    assert answer.json()["error"]["param"] == "num_frames"


def test_time_is_up_for_a_client_that_waits_too_short(films: Fleet) -> None:
    answer = post(
        films, ENDLESS | {"response_format": "url"}, headers={"x-request-timeout-ms": "300"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    films.wait_until(lambda: running(films) == 0, "it is made no more")


def test_a_client_that_leaves_has_nothing_made(films: Fleet) -> None:
    leave = httpx.Timeout(60, read=0.3)
    for path in ("", "/stream"):
        with httpx.Client(timeout=leave) as client, pytest.raises(httpx.ReadTimeout):
            client.post(
                f"{films.url}/v1/videos{path}",
                json=MUTE | {"response_format": "url"},
            )
        films.wait_until(lambda: running(films) == 0, "it is made no more")


def test_events_tell_how_far_it_is(films: Fleet) -> None:
    asked = ASKED | {"nvext": {"fps": 8, "num_inference_steps": 10}}
    answer = post(films, asked, "/stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    assert [name for name, _ in events] == [told["type"] for _, told in events]
    assert events[0][1]["status"] == "queued"
    assert {told["id"] for _, told in events} == {events[0][1]["id"]}
    percents = [told["progress"] for _, told in events]
    assert percents == sorted(percents)
    assert percents[1:-1] == [10, 20, 30, 40, 50, 60, 70, 80, 90, 99, 100]
    name, last = events[-1]
    assert (name, last["status"]) == ("video.completed", "completed")
    assert httpx.get(last["data"][0]["url"]).status_code == 200


def test_the_last_event_may_have_the_video_itself(films: Fleet) -> None:
    events = events_of(post(films, ASKED | {"response_format": "b64_json"}, "/stream").text)
    data = base64.b64decode(events[-1][1]["data"][0]["b64_json"])
    assert data[4:8] == b"ftyp"


def test_who_waits_is_behind_the_jobs_that_came_before_and_not_behind_all(films: Fleet) -> None:
    with films.client() as client:
        first = begin_long(client)
        wait_for(client, first, films, "in_progress")
        answers: list[httpx.Response] = []
        waiting = threading.Thread(
            target=lambda: answers.append(post(films, ASKED | {"response_format": "url"}))
        )
        waiting.start()
        films.wait_until(lambda: running(films) == 2, "it waits on the worker")
        behind = [begin_long(client) for _ in range(2)]
        client.videos.delete(first.id)
        waiting.join(timeout=30)
        for video in behind:
            assert client.videos.retrieve(video.id).status in ("queued", "in_progress")
            client.videos.delete(video.id)
        assert answers[0].status_code == 200


def test_errors_before_the_first_event_have_their_status(films: Fleet) -> None:
    for body, param in ((ASKED | {"n": 2}, "n"), (ASKED | {"size": "1"}, "size")):
        answer = post(films, body, "/stream")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    with films.client() as client, pytest.raises(openai.NotFoundError):
        client.post("/videos/stream", body=ASKED | {"model": "nobody"}, cast_to=object)
