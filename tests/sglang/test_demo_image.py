"""The demo model that draws, by SGLang's real generator on the CPU."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.demo_image import golden_prompts
from tests.demo_image.drawing import COLOUR_NAMES, SHAPES
from tests.demo_image.golden_prompts import ENOUGH, PROMPTS
from tests.demo_image.scoring import faults
from tests.kit.forks import run_with_sglang
from workers.demo_model import demo_model_dir

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]

PROGRAM = Path(golden_prompts.__file__).with_name("engine.py")
STEPS, SIDE = 12, 128
ODD_SIZES = ((64, 64), (96, 160), (250, 130), (256, 256))
"""Heights and widths of other pictures; one has whole tokens of 16 pixels."""

Picture = NDArray[np.uint8]


def order(prompt: str, seed: int, height: int = SIDE, width: int = SIDE) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "seed": seed,
        "height": height,
        "width": width,
        "num_inference_steps": STEPS,
    }


def drawn(orders: Sequence[dict[str, Any]]) -> list[Picture]:
    """One picture an order, by one generator."""
    given = base64.b64encode(msgspec.msgpack.encode(orders)).decode()
    ended = run_with_sglang(PROGRAM, demo_model_dir("image"), given=given)
    assert ended.returncode == 0, ended.stderr[-3000:]
    made = msgspec.msgpack.decode(
        base64.b64decode(ended.stdout.rpartition("made ")[2].strip()),
        type=list[tuple[int, int, bytes] | None],
    )
    assert None not in made, ended.stdout[-3000:]
    return [
        np.frombuffer(pixels, dtype=np.uint8).reshape(height, width, 3)
        for height, width, pixels in filter(None, made)
    ]


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Of the prompts, of the first of them with its seed once more, and of odd sizes."""
    wished = [order(wish.prompt, seed) for seed, wish in enumerate(PROMPTS)]
    odd = [order(PROMPTS[0].prompt, 0, *size) for size in ODD_SIZES]
    return drawn([*wished, wished[0], *odd])


def test_pictures_show_what_was_asked_for(pictures: list[Picture]) -> None:
    assert len(PROMPTS) == 30
    found = {
        wish.prompt: wrong
        for wish, picture in zip(PROMPTS, pictures, strict=False)
        if (wrong := faults(picture, wish))
    }
    assert len(PROMPTS) - len(found) >= ENOUGH, found


def test_a_seed_draws_the_same_again(pictures: list[Picture]) -> None:
    assert (pictures[0] == pictures[len(PROMPTS)]).all()


def test_other_sizes_are_drawn_in_whole_tokens(pictures: list[Picture]) -> None:
    sizes = [picture.shape[:2] for picture in pictures[len(PROMPTS) + 1 :]]
    assert sizes == [(height // 16 * 16, width // 16 * 16) for height, width in ODD_SIZES]


def test_the_prompts_name_all_that_it_knows() -> None:
    colours = {thing.colour for wish in PROMPTS for thing in wish.things}
    assert colours == set(COLOUR_NAMES)
    assert {thing.shape for wish in PROMPTS for thing in wish.things} == set(SHAPES)
    assert len({wish.prompt for wish in PROMPTS}) == len(PROMPTS)
