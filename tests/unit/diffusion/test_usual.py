"""What orders leave to their worker, and what its operator says of it."""

import pytest

from protocol.diffusion import Diffuse
from protocol.process.start_error import StartError
from workers.diffusion.usual import Usual
from workers.settings import WorkerSettings

ORDER = Diffuse("0" * 32, "draws", "a red circle", 0)


@pytest.mark.parametrize(
    ("size", "steps", "usual"),
    [
        (None, 0, Usual()),
        ("640x480", 0, Usual(640, 480)),
        (None, 12, Usual(steps=12)),
        ("16384x16384", 1_000, Usual(16_384, 16_384, 1_000)),
    ],
)
def test_the_operator_says_a_size_and_steps(size: str | None, steps: int, usual: Usual) -> None:
    settings = WorkerSettings(media_default_size=size, media_default_steps=steps)
    assert settings.usual() == usual


@pytest.mark.parametrize(
    "size", ["", "128", "0x128", "128x", "128x16385", "128 x 128", "\u0661x\u0661"]
)
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(StartError, match="--media-default-size must be WIDTHxHEIGHT"):
        WorkerSettings(media_default_size=size)


@pytest.mark.parametrize("steps", [-1, 1_001])
def test_steps_that_nobody_may_ask_for_are_refused(steps: int) -> None:
    with pytest.raises(StartError, match="--media-default-steps must be 0 to 1000"):
        WorkerSettings(media_default_steps=steps)


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ({}, (128, 96, 12)),
        ({"width": 64, "height": 32}, (64, 32, 12)),
        ({"steps": 3}, (128, 96, 3)),
        ({"references": [b"picture"]}, (0, 0, 12)),
    ],
)
def test_an_order_is_completed_and_keeps_what_it_says(
    said: dict[str, object], made: tuple[int, int, int]
) -> None:
    order = Usual(128, 96, 12).completed(Diffuse("0" * 32, "draws", "", 0, **said))  # pyright: ignore[reportArgumentType]
    assert (order.width, order.height, order.steps) == made


def test_an_order_stays_as_it_is_where_nothing_is_said() -> None:
    assert Usual().completed(ORDER) is ORDER
    assert Usual().sized(ORDER) is ORDER


def test_a_first_order_is_made_in_the_usual_size() -> None:
    order = Usual(128, 96).sized(Diffuse("0" * 32, "", "", 0, width=512, height=512, steps=1))
    assert (order.width, order.height, order.steps) == (128, 96, 1)
