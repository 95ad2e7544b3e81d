"""The demo model has a few million parameters that know about kvmesh and little else; it is served
where no model is named.

`kvmesh-demo/` is a Hugging Face model directory; `tests/demo_model` holds what it was trained on
and how.
"""

from pathlib import Path
from typing import Final

from protocol.process.start_error import StartError

_DIRECTORY: Final = Path(__file__).resolve().parent / "kvmesh-demo"
"""The demo model lies in this directory, whose name is the model's name."""

DEMO_TOOL_CALL_PARSER: Final = "qwen"
"""The demo model was taught to call tools in the format of this parser."""

DEMO_REASONING_PARSER: Final = "qwen3"
"""The demo model's template lets it think in the format of this parser."""


def demo_model_dir() -> Path:
    """Returns the directory of the demo model.

    Raises:
        StartError: it is not installed here.
    """
    if not (_DIRECTORY / "tokenizer.json").is_file():
        raise StartError("the demo model is not here: give --model-path")
    return _DIRECTORY
