"""The demo model that draws, asked over HTTP: by SGLang's real generator on the CPU."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from PIL import Image

from starter.addresses import worker_command
from tests.demo_image.drawing import COLOUR_NAMES, SHAPES
from tests.demo_image.golden_prompts import ENOUGH, PROMPTS
from tests.demo_image.scoring import faults
from tests.fleet.pictures import data_url, picture
from tests.kit.browser import CHROMIUM, Browser
from tests.kit.fleet import Fleet
from tests.kit.forks import start_light
from tests.kit.status_page import FOLLOWED, ask, choose, opened

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]

START_S_MAX = 240.0
"""A generator starts in 15 s on an idle machine."""
SIZES = ((64, 64), (160, 96), (256, 256))
"""Widths and heights of other pictures."""

Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A frontend with a worker that has the demo; the worker itself is without SGLang."""
    fleet = Fleet(tmp_path_factory.mktemp("demo"))
    fleet.frontend()
    command = worker_command([fleet.mesh], "--demo", "image")
    fleet.launch("worker", command, by=start_light)
    try:
        fleet.wait_for_workers(1, wait_s_max=START_S_MAX)
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture(scope="module")
def client(drawing: Fleet) -> Iterator[openai.OpenAI]:
    with drawing.client() as client:
        yield client


def draw(client: openai.OpenAI, prompt: str, seed: int, **options: Any) -> Picture:
    asked = {"prompt": prompt, "response_format": "b64_json", "extra_body": {"seed": seed}}
    answer: Any = client.images.generate(**(asked | options))
    (made,) = answer.data
    return seen(made.b64_json)


def seen(text: str) -> Picture:
    with Image.open(io.BytesIO(base64.b64decode(text))) as shown:
        return np.asarray(shown.convert("RGB"))


def test_pictures_show_what_was_asked_for(client: openai.OpenAI) -> None:
    assert len(PROMPTS) == 30
    pictures = [draw(client, wish.prompt, seed) for seed, wish in enumerate(PROMPTS)]
    found = {
        wish.prompt: wrong
        for wish, picture in zip(PROMPTS, pictures, strict=True)
        if (wrong := faults(picture, wish))
    }
    assert len(PROMPTS) - len(found) >= ENOUGH, found
    assert {picture.shape for picture in pictures} == {(128, 128, 3)}
    assert (draw(client, PROMPTS[0].prompt, 0) == pictures[0]).all()  # of the same seed


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_status_page_has_it_draw(drawing: Fleet, tmp_path: Path) -> None:
    wish = PROMPTS[0]
    with Browser(tmp_path) as browser:
        page = opened(browser, drawing)
        choose(page, "kvmesh-demo-image")
        shown: list[Picture] = []
        for count in (1, 2, 3):  # each of a seed of its own
            ask(page, wish.prompt)
            page.until(f"document.querySelectorAll('.message.assistant .meta').length === {count}")
            made = "[...document.querySelectorAll('.message.assistant img')].at(-1)"
            assert page.value(f"{made}.classList.contains('partial')") is False
            shown.append(seen(page.value(f"{made}.src").partition("base64,")[2]))
        assert page.value(FOLLOWED) is True
        page.picture(tmp_path / "drawn.png")
        assert page.complaints() == []
    assert {picture.shape for picture in shown} == {(128, 128, 3)}
    assert min([faults(picture, wish) for picture in shown], key=len) == []
    assert len({picture.tobytes() for picture in shown}) == len(shown)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_other_sizes_are_drawn_too(client: openai.OpenAI, width: int, height: int) -> None:
    drawn = draw(client, PROMPTS[0].prompt, 0, size=f"{width}x{height}")
    assert drawn.shape == (height, width, 3)


@pytest.mark.parametrize(
    ("options", "param", "words"),
    [
        ({"size": "250x130"}, "size", "multiple of 16"),
        ({"extra_body": {"lora_path": "style"}}, "lora_path", "not loaded"),
        ({"extra_body": {"input_reference": data_url(picture("red"))}}, "input_reference", "takes"),
    ],
)
def test_what_it_cannot_draw_is_refused_by_its_name(
    client: openai.OpenAI, options: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(openai.APIStatusError, match=words) as raised:
        client.images.generate(prompt="a red circle on blue", **options)
    assert raised.value.param == param


def test_it_changes_no_pictures(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="takes no pictures") as raised:
        client.images.edit(image=("red.png", picture("red"), "image/png"), prompt="blue")
    assert raised.value.param == "image"


def test_the_prompts_name_all_that_it_knows() -> None:
    colours = {thing.colour for wish in PROMPTS for thing in wish.things}
    assert colours == set(COLOUR_NAMES)
    assert {thing.shape for wish in PROMPTS for thing in wish.things} == set(SHAPES)
    assert len({wish.prompt for wish in PROMPTS}) == len(PROMPTS)
