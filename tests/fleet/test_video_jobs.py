"""OpenAI's client, unmodified, has videos made by simulated workers and follows them."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.fleet.made_videos import (
    MODEL,
    SECOND,
    SMALL,
    WORKER,
    begin,
    begin_long,
    metric,
    wait_for,
)
from tests.fleet.pictures import data_url, picture
from tests.kit.fleet import Fleet
from tests.kit.videos_told import told_by_ffmpeg
from workers.diffusion.orders import ORDERS_WAITING_MAX

PROMPT = "a red circle on blue"
UNKNOWN = "video_" + "0" * 32


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A frontend with two workers that make videos, and one that chats."""
    fleet = Fleet(tmp_path_factory.mktemp("films"))
    fleet.frontend()
    for _ in range(2):
        fleet.worker(*WORKER)
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "0")
    fleet.wait_for_workers(3)
    yield fleet
    fleet.stop()


@pytest.fixture
def client(films: Fleet) -> Iterator[openai.OpenAI]:
    """The unmodified OpenAI client; what it leaves behind is thrown away."""
    with films.client() as client:
        yield client
        for video in client.videos.list(limit=100):
            client.videos.delete(video.id)


def test_the_last_of_all_seeds_is_one(client: openai.OpenAI) -> None:
    seeds = [2**63 - 1, 2**40 + 1]
    videos = [begin(client, {"nvext": {"seed": seed, "num_inference_steps": 1}}) for seed in seeds]
    done = [client.videos.poll(video.id, poll_interval_ms=50) for video in videos]
    assert [video.status for video in done] == ["completed"] * 2
    assert {video.id for video in client.videos.list()} == {video.id for video in videos}


def test_a_video_is_begun_followed_and_fetched(
    films: Fleet, client: openai.OpenAI, tmp_path: Path
) -> None:
    video = begin(client)
    assert (video.object, video.model, video.seconds, video.size) == ("video", MODEL, "1", "64x48")
    assert video.id.startswith("video_")
    assert len(video.id) == 38
    assert video.prompt == PROMPT
    done = client.videos.poll(video.id, poll_interval_ms=50)
    assert (done.id, done.status, done.progress, done.error) == (video.id, "completed", 100, None)
    assert (done.seconds, done.size, done.created_at) == ("1", "64x48", video.created_at)
    assert done.completed_at is not None
    assert done.expires_at is not None
    assert done.created_at <= done.completed_at <= done.expires_at
    content = client.videos.download_content(video.id)
    assert content.response.headers["content-type"] == "video/mp4"
    file = tmp_path / "made.mp4"
    content.write_to_file(file)
    assert told_by_ffmpeg(file)[2:] == (64, 48, 8)
    assert metric(films, "kvmesh_frontend_jobs_ended_total", 'outcome="completed"') >= 1


def test_create_and_poll_needs_nothing_but_a_prompt(client: openai.OpenAI) -> None:
    done = client.videos.create_and_poll(prompt=PROMPT, size=SMALL, poll_interval_ms=50)
    assert (done.status, done.seconds, done.model) == ("completed", "4", MODEL)


async def test_the_async_client_does_the_same(films: Fleet, client: openai.OpenAI) -> None:
    async with films.async_client() as asynchronous:
        done = await asynchronous.videos.create_and_poll(
            prompt=PROMPT, seconds=SECOND, size=SMALL, poll_interval_ms=50
        )
        content = await asynchronous.videos.download_content(done.id)
        assert await content.aread() == client.videos.download_content(done.id).read()


def test_a_picture_to_begin_with_comes_as_a_file_or_as_a_url(client: openai.OpenAI) -> None:
    red = picture("red")
    seed: dict[str, Any] = {"nvext": {"seed": 7, "num_inference_steps": 1, "fps": 8}}
    wanted: dict[str, Any] = {"prompt": PROMPT, "seconds": SECOND, "size": SMALL}
    named = data_url(red)
    videos = [
        client.videos.create(
            **wanted, input_reference=("red.png", io.BytesIO(red), "image/png"), extra_body=seed
        ),
        client.videos.create(**wanted, extra_body=seed | {"input_reference": named}),
        client.videos.create(**wanted, extra_body=seed | {"input_reference": {"image_url": named}}),
        client.videos.create(**wanted, extra_body=seed),
    ]
    made = [
        client.videos.download_content(client.videos.poll(video.id, poll_interval_ms=50).id).read()
        for video in videos
    ]
    assert made[0] == made[1] == made[2] != made[3]


def test_parts_of_a_video_can_be_fetched(films: Fleet, client: openai.OpenAI) -> None:
    video = client.videos.poll(begin(client).id, poll_interval_ms=50)
    whole = client.videos.download_content(video.id, variant="video").read()
    url = f"{films.url}/v1/videos/{video.id}/content"
    part = httpx.get(url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    head = httpx.head(url)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole)))
    assert httpx.get(url, headers={"range": f"bytes={len(whole)}-"}).status_code == 416
    refused = httpx.get(url, params={"variant": "thumbnail"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "variant")


def test_a_list_has_pages_in_either_order(client: openai.OpenAI) -> None:
    begun = {begin(client).id for _ in range(5)}
    newest = [video.id for video in client.videos.list(limit=2)]
    assert set(newest) == begun
    assert [video.id for video in client.videos.list(limit=2, order="asc")] == newest[::-1]
    page = client.videos.list(limit=2)
    assert (len(page.data), page.has_more, page.last_id) == (2, True, newest[1])
    rest = client.videos.list(limit=100, after=newest[1])
    assert ([video.id for video in rest.data], rest.has_more) == (newest[2:], False)
    with pytest.raises(openai.BadRequestError) as raised:
        client.videos.list(after=UNKNOWN)
    assert raised.value.param == "after"


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"order": "up"}])
def test_a_list_is_held_to_its_bounds(films: Fleet, query: dict[str, str]) -> None:
    refused = httpx.get(f"{films.url}/v1/videos", params=query)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, *query)


def test_a_job_that_runs_is_stopped_and_one_that_waits_never_begins(
    films: Fleet, client: openai.OpenAI
) -> None:
    running = [begin_long(client) for _ in range(2)]
    for video in running:
        wait_for(client, video, films, "in_progress")
    waiting = [begin_long(client) for _ in range(2)]
    assert all(client.videos.retrieve(video.id).status == "queued" for video in waiting)
    with pytest.raises(openai.BadRequestError, match="not made yet"):
        client.videos.download_content(waiting[0].id)
    for video in waiting + running:
        deleted = client.videos.delete(video.id)
        assert (deleted.id, deleted.deleted, deleted.object) == (video.id, True, "video.deleted")
        with pytest.raises(openai.NotFoundError):
            client.videos.retrieve(video.id)
    assert client.videos.list().data == []
    client.videos.poll(begin(client).id, poll_interval_ms=50)
    fleet_log = "\n".join(process.output() for process in films.processes)
    assert "job model=sim-film" in fleet_log


def test_what_is_made_is_thrown_away_with_its_job(films: Fleet, client: openai.OpenAI) -> None:
    video = client.videos.poll(begin(client).id, poll_interval_ms=50)
    client.videos.delete(video.id)
    for ask in (client.videos.download_content, client.videos.retrieve, client.videos.delete):
        with pytest.raises(openai.NotFoundError) as raised:
            ask(video.id)
        assert raised.value.param == "video_id"


@pytest.mark.parametrize("video_id", [UNKNOWN, "video_1", "x" * 500, "stream2"])
def test_unknown_videos_are_404(films: Fleet, video_id: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        answer = httpx.request(method, f"{films.url}/v1/videos/{video_id}{path}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (404, "video_id")


def test_a_job_that_fails_says_why(films: Fleet, client: openai.OpenAI) -> None:
    too_much = {"nvext": {"num_frames": 4_096, "fps": 8}}
    video = client.videos.create(prompt=PROMPT, size="4096x4096", extra_body=too_much)  # type: ignore[arg-type]
    done = client.videos.poll(video.id, poll_interval_ms=50)
    assert done.status == "failed"
    assert done.error is not None
    assert "too" in done.error.message or "at most" in done.error.message
    assert done.error.code == "invalid_value"
    with pytest.raises(openai.BadRequestError, match="not made"):
        client.videos.download_content(video.id)
    assert [each.status for each in client.videos.list()] == ["failed"]


def test_a_remix_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="not remixed"):
        client.videos.remix(UNKNOWN, prompt="bluer")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"size": "wide"}, "size"),
        ({"size": "64x99999"}, "size"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": "-4"}, "seconds"),
        ({"seconds": "four"}, "seconds"),
        ({"seconds": 3_000}, "seconds"),
        ({"seconds": 4, "nvext": {"num_frames": 5, "fps": 8}}, "seconds"),
        ({"n": 2}, "n"),
        ({"stream": True}, "stream"),
        ({"nvext": {"fps": 0}}, "nvext.fps"),
        ({"fps": 8, "nvext": {"fps": 9}}, "nvext.fps"),
        ({"nvext": {"num_frames": 5_000}}, "nvext.num_frames"),
        ({"output_format": "webm"}, "output_format"),
        ({"response_format": "file"}, "response_format"),
        ({"prompt": ""}, "prompt"),
        ({"input_reference": "data:image/png;base64,AAAA"}, "input_reference"),
        ({"input_reference": {"file_id": "file-1"}}, "input_reference.image_url"),
        ({"model": "demo"}, "model"),
        ({"lora_name": "style"}, "lora_name"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(
    films: Fleet, fields: dict[str, Any], param: str
) -> None:
    refused = httpx.post(f"{films.url}/v1/videos", json={"prompt": PROMPT, **fields})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_each_model_is_asked_at_its_own_endpoint(films: Fleet, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="/v1/videos") as raised:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
    assert raised.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.videos.create(model="nobody", prompt=PROMPT)  # type: ignore[arg-type]
    (listed,) = [model for model in client.models.list() if model.id == MODEL]
    assert listed.model_extra is not None
    assert "/v1/videos" in listed.model_extra["endpoints"]


def test_the_openapi_page_tells_of_every_method(films: Fleet) -> None:
    paths = films.get("/openapi.json")[1]["paths"]
    assert set(paths["/v1/videos"]) == {"get", "post"}
    assert set(paths["/v1/videos/{video_id}"]) == {"get", "delete"}
    content = paths["/v1/videos/{video_id}/content"]["get"]
    assert [each["name"] for each in content["parameters"]] == ["video_id", "variant"]
    assert "multipart/form-data" in paths["/v1/videos"]["post"]["requestBody"]["content"]
    named = [operation["operationId"] for each in paths.values() for operation in each.values()]
    assert len(set(named)) == len(named)


def test_a_full_queue_is_said_at_once(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*WORKER)
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        wait_for(client, begin_long(client), fleet, "in_progress")
        for _ in range(ORDERS_WAITING_MAX - 1):
            begin(client)
        with pytest.raises(openai.InternalServerError) as raised:
            begin(client)
        assert (raised.value.status_code, raised.value.code) == (503, "overloaded")
        assert raised.value.response.headers["retry-after"]
        videos = list(client.videos.list(limit=100))
        assert len(videos) == ORDERS_WAITING_MAX
        for video in videos:  # a worker that leaves finishes what runs
            client.videos.delete(video.id)
