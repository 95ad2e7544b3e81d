"""Pictures made and changed for OpenAI's client, unmodified, by simulated workers."""

import base64
import io
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from tests.fleet.drawing import DRAWS, MODEL, opened
from tests.fleet.pictures import data_url, picture
from tests.kit.fleet import Fleet

RED = picture("red")
SIZE: Any = "96x64"


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A frontend with a worker that draws and one that chats."""
    fleet = Fleet(tmp_path_factory.mktemp("drawing"))
    fleet.frontend()
    fleet.worker(*DRAWS, "--sim-step-ms", "0")
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "0")
    fleet.wait_for_workers(2)
    yield fleet
    fleet.stop()


@pytest.fixture
def client(drawing: Fleet) -> Iterator[openai.OpenAI]:
    with drawing.client() as client:
        yield client


def draw(client: openai.OpenAI, **options: Any) -> Any:
    asked = {"model": MODEL, "prompt": "a red circle", "size": SIZE, "extra_body": {"seed": 5}}
    return client.images.generate(**(asked | options))


def files_of(answer: Any) -> list[bytes]:
    return [base64.b64decode(each.b64_json, validate=True) for each in answer.data]


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


def test_n_pictures_are_n_results_by_url_and_in_base64(client: openai.OpenAI) -> None:
    linked = draw(client, n=3)
    assert [each.b64_json for each in linked.data] == [None] * 3
    files = [fetched(each.url) for each in linked.data]
    assert len(set(files)) == 3
    assert [opened(file).size for file in files] == [(96, 64)] * 3
    assert files_of(draw(client, n=3, response_format="b64_json")) == files
    assert [each.seed for each in linked.data] == [5, 6, 7]
    assert (linked.size, linked.quality, linked.output_format) == ("96x64", "high", "png")
    assert (linked.background, linked.usage.total_tokens) == ("opaque", 0)


def test_only_the_prompt_need_be_said(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a fox")
    assert len(answer.data or []) == 1


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_files_are_as_asked_for(client: openai.OpenAI, form: Any) -> None:
    sizes: list[int] = []
    for quality in ("low", "high"):
        answer = draw(
            client, size="512x512", output_format=form, quality=quality, response_format="b64_json"
        )
        (file,) = files_of(answer)
        sizes.append(len(file))
        assert opened(file).format == form.upper()
        assert (answer.quality, answer.output_format) == (quality, form)
    assert sizes[0] < sizes[1]


def test_steering_by_either_name_is_the_same(client: openai.OpenAI) -> None:
    steered = {"seed": 9, "num_inference_steps": 3, "guidance_scale": 2.0, "negative_prompt": "x"}
    plain, nested = (
        draw(client, extra_body=body, response_format="b64_json")
        for body in (steered, {"nvext": steered})
    )
    assert files_of(plain) == files_of(nested)
    assert files_of(plain) != files_of(draw(client, response_format="b64_json"))


def test_a_stream_shows_pictures_on_the_way(client: openai.OpenAI) -> None:
    whole = files_of(draw(client, n=2, response_format="b64_json"))
    events = list(draw(client, n=2, stream=True, partial_images=2))
    kinds = [event.type.removeprefix("image_generation.") for event in events]
    assert kinds == ["partial_image"] * 4 + ["completed"] * 2
    assert [event.partial_image_index for event in events[:4]] == [0, 1, 0, 1]
    assert [event.index for event in events] == [0, 0, 1, 1, 0, 1]
    assert files_of(type("Answer", (), {"data": events[4:]})) == whole
    for event in events:
        assert opened(base64.b64decode(event.b64_json)).size == (96, 64)
        assert (event.size, event.background, event.quality) == ("96x64", "opaque", "high")
        assert event.created_at > 0
    assert events[-1].usage.total_tokens == 0


def test_a_stream_may_tell_links(client: openai.OpenAI) -> None:
    (event,) = draw(client, stream=True, response_format="url")
    assert opened(fetched(event.url)).size == (96, 64)


def change(client: openai.OpenAI, **options: Any) -> Any:
    asked = {"model": MODEL, "prompt": "blue", "size": SIZE, "response_format": "b64_json"}
    return client.images.edit(**(asked | {"extra_body": {"seed": 5}} | options))


def test_what_a_mask_covers_stays(client: openai.OpenAI) -> None:
    with Image.new("RGBA", (50, 50)) as mask:
        mask.paste("black", (0, 0, 25, 50))
        masked = io.BytesIO()
        mask.save(masked, "png")
    brought = picture("red", (50, 50))
    options = {"image": brought, "mask": masked.getvalue(), "size": "50x50"}
    (changed,) = (opened(file).convert("RGB") for file in files_of(change(client, **options)))
    before, halves = opened(brought).convert("RGB"), ((0, 0, 24, 50), (26, 0, 50, 50))
    same = [changed.crop(half).tobytes() == before.crop(half).tobytes() for half in halves]
    assert same == [True, False]


def test_pictures_are_changed_from_forms(client: openai.OpenAI) -> None:
    plain = files_of(draw(client, prompt="blue", response_format="b64_json"))
    (red,) = files_of(change(client, image=RED))
    assert [red] != plain
    assert files_of(change(client, image=[("a.png", RED), ("b.png", RED)], mask=RED, n=2))[0] == red
    assert files_of(change(client, image=io.BytesIO(RED), extra_body={"nvext": {"seed": 5}})) == [
        red
    ]
    streamed = list(change(client, image=RED, stream=True, partial_images=1))
    assert [event.type for event in streamed] == [
        "image_edit.partial_image",
        "image_edit.completed",
    ]
    assert base64.b64decode(streamed[-1].b64_json) == red


@pytest.mark.parametrize(
    "images",
    [
        {"image": data_url(RED)},
        {"image": [data_url(RED)]},
        {"images": [{"image_url": data_url(RED)}]},
        {"input_reference": data_url(RED)},
        {"input_reference": base64.b64encode(RED).decode()},
    ],
)
def test_pictures_are_changed_from_json(
    drawing: Fleet, client: openai.OpenAI, images: dict[str, Any]
) -> None:
    asked = {"prompt": "blue", "size": SIZE, "seed": 5, "response_format": "b64_json"}
    told = httpx.post(f"{drawing.url}/v1/images/edits", json=asked | images).json()
    (red,) = files_of(change(client, image=RED))
    assert base64.b64decode(told["data"][0]["b64_json"]) == red


def test_what_is_made_may_begin_with_a_picture(client: openai.OpenAI) -> None:
    begun = draw(
        client,
        prompt="blue",
        response_format="b64_json",
        extra_body={"seed": 5, "input_reference": data_url(RED)},
    )
    assert files_of(begun) == files_of(change(client, image=RED))


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"n": 11}, "n"),
        ({"size": "1024"}, "size"),
        ({"size": "8192x64"}, "size"),
        ({"background": "transparent"}, "background"),
        ({"output_compression": 10}, "output_compression"),
        ({"partial_images": 2}, "partial_images"),
        ({"prompt": ""}, "prompt"),
        ({"extra_body": {"num_inference_steps": 0}}, "num_inference_steps"),
        ({"extra_body": {"seed": 1, "nvext": {"seed": 2}}}, "nvext.seed"),
        ({"extra_body": {"input_reference": "http://127.0.0.1/x"}}, "input_reference"),
        ({"extra_body": {"output_path": "/tmp"}}, "output_path"),
        ({"extra_body": {"lora_name": "style"}}, "lora_name"),
    ],
)
def test_what_is_wrong_is_told_by_its_name(
    client: openai.OpenAI, options: dict[str, Any], param: str
) -> None:
    for stream in (False, True):
        if stream and param == "partial_images":
            continue
        with pytest.raises(openai.BadRequestError) as raised:
            draw(client, stream=stream, **options)
        assert raised.value.param == param


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"image": b"no picture"}, "image"),
        ({"image": [RED, b"no picture"]}, "image[1]"),
        ({"image": RED, "mask": picture("red", (50, 50))}, "mask"),
        ({"image": RED, "n": 11}, "n"),
        ({"image": RED, "prompt": ""}, "prompt"),
        ({"image": RED, "extra_body": {"nvext": {"seed": "x"}}}, "nvext.seed"),
    ],
)
def test_what_is_wrong_in_a_form_is_told_by_its_name(
    client: openai.OpenAI, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        change(client, **options)
    assert raised.value.param == param


def test_an_edit_needs_a_picture(drawing: Fleet) -> None:
    answer = httpx.post(f"{drawing.url}/v1/images/edits", json={"prompt": "blue"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image")


def test_who_asks_the_wrong_model_is_told_where_to_ask(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="/v1/chat/completions") as raised:
        draw(client, model="demo")
    assert raised.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="/v1/images/generations"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="/v1/images/generations"):
        client.embeddings.create(model=MODEL, input="x")
    with pytest.raises(openai.NotFoundError):
        draw(client, model="nobody")


def test_models_say_what_they_are_for(client: openai.OpenAI) -> None:
    told = {model.id: model.model_dump() for model in client.models.list()}
    assert told[MODEL]["service"] == "images"
    assert told[MODEL]["endpoints"] == ["/v1/images/generations", "/v1/images/edits"]
    assert "max_model_len" not in told[MODEL]
    assert (told["demo"]["service"], told["demo"]["endpoints"][0]) == (
        "text",
        "/v1/chat/completions",
    )


def test_what_has_no_effect_is_named(client: openai.OpenAI) -> None:
    answer = client.images.with_raw_response.generate(
        model=MODEL, prompt="x", size=SIZE, style="vivid", moderation="low", user="ada"
    )
    assert answer.headers["x-kvmesh-ignored"] == "style"


def test_what_was_made_is_counted(drawing: Fleet, client: openai.OpenAI) -> None:
    draw(client, n=2, output_format="webp")
    with urllib.request.urlopen(f"{drawing.url}/metrics") as page:
        told = page.read().decode()
    assert f'kvmesh_frontend_outputs_total{{format="webp",model="{MODEL}"}}' in told
    ended = f'endpoint="images",model="{MODEL}",request_type="unary",status="success"'
    assert f"dynamo_frontend_requests_total{{{ended}" in told.replace('error_type="",', "")


def test_without_workers_there_is_nobody_to_ask(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.wait_until(lambda: fleet.get("/live")[0] == 200, "a frontend")
    with fleet.client() as client, pytest.raises(openai.InternalServerError) as raised:
        draw(client)
    assert raised.value.status_code == 503
    asked = json.dumps({"prompt": "x"}).encode()
    told = httpx.post(
        f"{fleet.url}/v1/images/generations",
        content=asked,
        headers={"content-type": "application/json"},
    )
    assert told.status_code == 503
