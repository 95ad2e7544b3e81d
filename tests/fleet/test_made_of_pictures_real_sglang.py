"""Pictures changed, and videos begun with one, by SGLang's own pipelines and over HTTP: tiny models
of random weights, a worker each.
"""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest

from starter.addresses import worker_command
from tests.fleet.drawing import opened
from tests.fleet.pictures import data_url, picture
from tests.kit.fleet import Fleet
from tests.kit.forks import run_with_sglang, start_light

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]

MAKER: Final = Path(__file__).parents[1] / "sglang/tiny_diffusion.py"
START_S_MAX: Final = 240.0
"""Two generators start in 30 s on an idle machine."""

CHANGES: Final = ("flux-of-pictures", "FLUX.2-klein-4B", "--image-diffusion-worker")
FILMS: Final = ("wan-of-pictures", "Wan2.1-I2V-14B-480P-Diffusers", "--video-generation-worker")
"""Hold a model's folder, the name by which SGLang knows its pipeline, and the type of worker."""

RED, BLUE = (picture(colour, (64, 64)) for colour in ("red", "blue"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("of-pictures")
    done = run_with_sglang(MAKER, folder, CHANGES[0], FILMS[0])
    assert done.returncode == 0, done.stderr[-3000:]
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    fleet.frontend()
    for model, known_as, kind in (CHANGES, FILMS):
        options = ("--model-path", str(folder / model), "--model-id", known_as)
        command = worker_command([fleet.mesh], kind, *options, "--served-model-name", model)
        fleet.launch("worker", command, by=start_light)
    try:
        fleet.wait_for_workers(2, wait_s_max=START_S_MAX)
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture
def client(fleet: Fleet) -> Iterator[openai.OpenAI]:
    with fleet.client() as client:
        yield client


def change(client: openai.OpenAI, image: Any, **options: Any) -> bytes:
    further = {"seed": 1, "num_inference_steps": 2}
    asked: dict[str, Any] = {"size": "64x64", "response_format": "b64_json", "extra_body": further}
    answer: Any = client.images.edit(
        model=CHANGES[0], image=image, prompt="a cat", **(asked | options)
    )
    (made,) = answer.data
    return base64.b64decode(made.b64_json)


def test_a_picture_is_changed(client: openai.OpenAI) -> None:
    red, blue = change(client, RED), change(client, io.BytesIO(BLUE))
    assert opened(red).size == (64, 64)
    assert opened(red).tobytes() == opened(change(client, RED)).tobytes()
    both = change(client, [("red.png", RED), ("blue.png", BLUE)])
    drawn: Any = client.images.generate(
        model=CHANGES[0],
        prompt="a cat",
        response_format="b64_json",
        size="64x64",  # type: ignore[arg-type]
        extra_body={"seed": 1, "num_inference_steps": 2},
    )
    made = [red, blue, both, base64.b64decode(drawn.data[0].b64_json)]
    assert len({opened(each).tobytes() for each in made}) == 4


def test_json_and_streams_change_it_alike(fleet: Fleet, client: openai.OpenAI) -> None:
    red = opened(change(client, RED)).tobytes()
    body: dict[str, Any] = {
        "model": CHANGES[0],
        "prompt": "a cat",
        "size": "64x64",
        "images": [data_url(RED)],
    }
    body |= {"seed": 1, "num_inference_steps": 2}
    answer = httpx.post(f"{fleet.url}/v1/images/edits", json=body, timeout=60).json()
    assert opened(httpx.get(answer["data"][0]["url"]).content).tobytes() == red
    stream: Any = client.images.edit(
        model=CHANGES[0],
        image=RED,
        prompt="a cat",
        size="64x64",  # type: ignore[arg-type]
        stream=True,
        partial_images=1,
        extra_body={"seed": 1, "num_inference_steps": 2},
    )
    partial, completed = stream
    assert (partial.type, completed.type) == ("image_edit.partial_image", "image_edit.completed")
    assert opened(base64.b64decode(completed.b64_json)).tobytes() == red


def test_what_it_cannot_change_is_refused_by_its_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="mask") as raised:
        change(client, RED, mask=RED)
    assert raised.value.param == "mask"


def film(client: openai.OpenAI, picture: bytes) -> bytes:
    begun = client.videos.create(
        model=FILMS[0],  # type: ignore[arg-type]
        prompt="a cat",
        input_reference=("begins.png", picture, "image/png"),
        size="64x64",  # type: ignore[arg-type]
        extra_body={"num_frames": 5, "fps": 8, "num_inference_steps": 2, "seed": 1},
    )
    done = client.videos.poll(begun.id, poll_interval_ms=100)
    assert (done.status, done.size, done.error) == ("completed", "64x64", None)
    return client.videos.download_content(done.id).read()


def test_a_video_begins_with_a_picture(client: openai.OpenAI) -> None:
    red, blue, again = (film(client, begins) for begins in (RED, BLUE, RED))
    assert red[4:8] == b"ftyp"
    assert red == again != blue


@pytest.mark.parametrize(
    ("brought", "param"),
    [([], "input_reference"), ([data_url(RED), data_url(BLUE)], "input_reference[1]")],
)
def test_a_video_begins_with_one_picture(fleet: Fleet, brought: list[str], param: str) -> None:
    body: dict[str, Any] = {"model": FILMS[0], "prompt": "a cat", "size": "64x64"}
    body |= {"num_frames": 5}
    body |= {"response_format": "url"} | ({"input_reference": brought} if brought else {})
    answer = httpx.post(f"{fleet.url}/v1/videos", json=body, timeout=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert "picture" in error["message"]
