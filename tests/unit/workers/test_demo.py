"""Which demo model a worker is told to serve."""

import pytest

from protocol.process.start_error import StartError
from workers import app as subject
from workers.demo_model import demo_model_dir
from workers.diffusion.usual import Usual
from workers.kinds.image_diffusion import IMAGE_DIFFUSION
from workers.kinds.registry import kind_for
from workers.settings import WorkerSettings

VISION = ("--model-path", str(demo_model_dir("vision")))
IMAGE = ("--model-path", str(demo_model_dir("image")))
NAMED = ("--served-model-name", "kvmesh-demo-image")


@pytest.mark.parametrize(
    ("settings", "argv", "told"),
    [
        (WorkerSettings(), (), ()),
        (WorkerSettings(), ("--model-path", "x"), ("--model-path", "x")),
        (WorkerSettings(demo="vision"), (), (*VISION, "--tool-call-parser", "qwen")),
        (WorkerSettings(demo="vision", engine="sim"), (), VISION),
        (
            WorkerSettings(demo="vision"),
            ("--tool-call-parser=hermes",),
            ("--tool-call-parser=hermes", *VISION),
        ),
    ],
)
def test_the_demo_that_sees_is_served_where_it_is_asked_for(
    settings: WorkerSettings, argv: tuple[str, ...], told: tuple[str, ...]
) -> None:
    assert subject._arguments(settings, argv, None).engine_argv == told


@pytest.mark.parametrize(
    ("settings", "argv", "told"),
    [
        (WorkerSettings(demo="image"), (), (*IMAGE, "--model-id", "FLUX.1-dev", *NAMED)),
        (WorkerSettings(demo="image", engine="sim"), (), IMAGE),
        (
            WorkerSettings(demo="image", image_diffusion_worker=True),
            ("--model-id", "FLUX.1-schnell", "--served-model-name", "draws"),
            ("--model-id", "FLUX.1-schnell", "--served-model-name", "draws", *IMAGE),
        ),
    ],
)
def test_the_demo_that_draws_is_a_worker_of_pictures_of_its_own_size(
    settings: WorkerSettings, argv: tuple[str, ...], told: tuple[str, ...]
) -> None:
    arguments = subject._arguments(settings, argv, None)
    assert arguments.engine_argv == told
    assert kind_for(arguments) is IMAGE_DIFFUSION
    assert arguments.settings.usual() == Usual(128, 128, 12)


def test_the_demo_that_draws_is_made_in_another_size_where_one_is_said() -> None:
    settings = WorkerSettings(demo="image", media_default_size="256x192", media_default_steps=20)
    assert subject._arguments(settings, (), None).settings.usual() == Usual(256, 192, 20)


def test_the_demo_that_draws_is_no_worker_of_another_type() -> None:
    with pytest.raises(StartError, match="--image-diffusion-worker exclude each other"):
        subject._arguments(WorkerSettings(demo="image", embedding_worker=True), (), None)


@pytest.mark.parametrize("flag", ["--model-path", "--model"])
def test_a_demo_beside_another_model_is_refused(flag: str) -> None:
    with pytest.raises(StartError, match="exclude each other"):
        subject._arguments(WorkerSettings(demo="vision"), (flag, "x"), None)
