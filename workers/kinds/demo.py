"""A worker that is asked for the demo model that sees, or draws, is told where it lies."""

from dataclasses import replace
from typing import Final

from protocol.process.start_error import StartError
from workers.demo_model import DEMO_TOOL_CALL_PARSER, demo_model_dir
from workers.kinds.arguments import Arguments

_PARSER_FLAG: Final = "--tool-call-parser"
_LIKE_FLAG: Final = "--model-id"
_LIKE: Final = "FLUX.1-dev"
"""By this name SGLang takes its own pipeline for the demo that draws, and not that of diffusers."""

_NAME_FLAG: Final = "--served-model-name"
"""Is needed beside that, or SGLang serves the demo under that name."""

DRAWN_SIZE: Final = "128x128"
"""Is in what size the demo that draws was taught most, and draws best."""

DRAWN_STEPS: Final = 12
"""More steps make its pictures no better: `python -m tests.demo_image.train` counts after 12."""


def with_demo(arguments: Arguments) -> Arguments:
    """Returns the arguments with all that the demo model needs which the settings name: its path,
    and its parser of tool calls, or the type of worker that draws; the text demo is what engines
    take by themselves.

    Raises:
        StartError: another model, or type of worker, is named too, or the demo model is not
        installed here.
    """
    demo = arguments.settings.demo
    if demo == "text":
        return arguments
    if arguments.told("--model-path", "--model"):
        raise StartError("--demo and --model-path exclude each other: each names a model")
    directory = demo_model_dir(demo)
    found = arguments.adding("--model-path", str(directory))
    if demo == "image":
        found = _that_draws(found)
        wanted = {_LIKE_FLAG: _LIKE, _NAME_FLAG: directory.name}
    else:
        wanted = {_PARSER_FLAG: DEMO_TOOL_CALL_PARSER}
    if arguments.settings.engine == "sim":
        return found
    missing = [(flag, value) for flag, value in wanted.items() if not arguments.told(flag)]
    return found.adding(*(word for pair in missing for word in pair))


def _that_draws(arguments: Arguments) -> Arguments:
    said = arguments.settings
    settings = replace(
        said,
        image_diffusion_worker=True,
        media_default_size=said.media_default_size or DRAWN_SIZE,
        media_default_steps=said.media_default_steps or DRAWN_STEPS,
    )
    return replace(arguments, settings=settings)
