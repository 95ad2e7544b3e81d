"""The demo model: a few million parameters that know about kvmesh and little else, served where no
model is named.

`kvmesh-demo/` is a Hugging Face model directory; `tests/demo_model` holds what it was trained on
and how.
"""

from pathlib import Path
from typing import Final

from protocol.process.start_error import StartError

_DIRECTORY: Final = Path(__file__).resolve().parent / "kvmesh-demo"
"""Its name is the model's name."""

DEMO_TOOL_CALL_PARSER: Final = "qwen"
"""Of the format in which it was taught to call tools."""

DEMO_REASONING_PARSER: Final = "qwen3"
"""Of the format in which its template lets it think."""


def demo_model_dir() -> Path:
    """Directory of the demo model.

    Raises:
        StartError: it is not installed here.
    """
    if not (_DIRECTORY / "tokenizer.json").is_file():
        raise StartError("the demo model is not here: give --model-path")
    return _DIRECTORY
