"""Which demo model a worker is told to serve."""

import pytest

from protocol.process.start_error import StartError
from workers import app as subject
from workers.demo_model import demo_model_dir
from workers.settings import WorkerSettings

VISION = ("--model-path", str(demo_model_dir("vision")))


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


@pytest.mark.parametrize("flag", ["--model-path", "--model"])
def test_a_demo_beside_another_model_is_refused(flag: str) -> None:
    with pytest.raises(StartError, match="exclude each other"):
        subject._arguments(WorkerSettings(demo="vision"), (flag, "x"), None)
