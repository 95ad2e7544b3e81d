"""`openai`'s pictures."""

import base64
from typing import Any

import httpx
import openai
import pytest

from conformance.clients.exact import each_exact, exact

ASKED: dict[str, Any] = {
    "prompt": "a red circle",
    "size": "1024x1024",  # the client's type knows few
    "extra_body": {"num_inference_steps": 3},
}
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def png(client: openai.OpenAI, image_model: str) -> bytes:
    (made,) = client.images.generate(model=image_model, response_format="b64_json", **ASKED).data
    return base64.b64decode(made.b64_json)


def test_pictures_are_links(client: openai.OpenAI, http: httpx.Client, image_model: str) -> None:
    answer = exact(client.images.generate(model=image_model, n=2, **ASKED))
    assert len(answer.data) == 2
    for made in answer.data:
        assert http.get(made.url).content.startswith(PNG)


def test_pictures_are_base64(client: openai.OpenAI, image_model: str, png: bytes) -> None:
    assert png.startswith(PNG)
    exact(client.images.generate(model=image_model, response_format="b64_json", **ASKED))


def test_pictures_are_changed(client: openai.OpenAI, image_model: str, png: bytes) -> None:
    image = ("a.png", png, "image/png")
    exact(client.images.edit(model=image_model, image=image, mask=image, **ASKED))


def test_streams_are_of_the_clients_events(client: openai.OpenAI, image_model: str) -> None:
    stream = client.images.generate(model=image_model, stream=True, partial_images=2, **ASKED)
    events = each_exact(stream)
    assert events[-1].type == "image_generation.completed"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"size": "wide"}, "size"),
    ({"n": 11}, "n"),
    ({"background": "transparent"}, "background"),
]


@pytest.mark.parametrize(("options", "param"), BAD, ids=[param for _, param in BAD])
def test_mistakes_are_said(
    client: openai.OpenAI, image_model: str, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(model=image_model, **{**ASKED, **options})
    assert raised.value.param == param


def test_each_model_does_its_own(client: openai.OpenAI, model: str, image_model: str) -> None:
    with pytest.raises(openai.BadRequestError):
        client.images.generate(model=model, **ASKED)
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=image_model, input="x")
