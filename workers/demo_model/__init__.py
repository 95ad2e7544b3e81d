"""The demo models have a few million parameters each: one knows about kvmesh and little else, and
is served where no model is named; one sees shapes and digits in pictures, and one draws shapes.

`kvmesh-demo/` and `kvmesh-demo-vision/` are Hugging Face model directories, `kvmesh-demo-image/` is
a pipeline in the layout of diffusers; `tests/demo_model`, `tests/demo_vision` and
`tests/demo_image` hold what they were trained on and how.
"""

from pathlib import Path
from typing import Final, Literal

from protocol.process.start_error import StartError

Demo = Literal["text", "vision", "image"]

_HERE: Final = Path(__file__).resolve().parent
_NAMES: Final[dict[Demo, str]] = {
    "text": "kvmesh-demo",
    "vision": "kvmesh-demo-vision",
    "image": "kvmesh-demo-image",
}
"""A demo model lies in the directory of this name, which is the model's name."""

_FIRST_FILES: Final = ("tokenizer.json", "model_index.json")
"""A directory of a model has the one, that of a pipeline the other."""

DEMO_TOOL_CALL_PARSER: Final = "qwen"
"""The demo models were taught to call tools in the format of this parser."""

DEMO_REASONING_PARSER: Final = "qwen3"
"""The text demo's template lets it think in the format of this parser."""


def demo_model_dir(demo: Demo = "text") -> Path:
    """Returns the directory of a demo model.

    Raises:
        StartError: it is not installed here.
    """
    directory = _HERE / _NAMES[demo]
    if not any((directory / name).is_file() for name in _FIRST_FILES):
        raise StartError("the demo model is not here: give --model-path")
    return directory
