"""Where the demo model lies: a checkout has it, an installed package does not."""

from pathlib import Path
from typing import Final

from protocol.errors import StartError

_DEMO: Final = Path(__file__).resolve().parents[2] / "tests" / "demo_model" / "qwen3_demo"


def demo_model_dir() -> Path:
    """Directory of the demo model, with its tokenizer files.

    Raises:
        StartError: this is no checkout of kvmesh.
    """
    if not (_DEMO / "tokenizer.json").is_file():
        raise StartError("the demo model is not here: give --model-path")
    return _DEMO
