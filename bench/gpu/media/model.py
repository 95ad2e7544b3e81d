"""A model of Qwen3-VL-8B's shape with the tokenizer of the demo model that sees and no weights:
SGLang makes them up with --load-format dummy.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Final

from workers.demo_model import demo_model_dir

TEXT: Final[dict[str, Any]] = {
    "head_dim": 128,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
}
VISION: Final[dict[str, Any]] = {
    "deepstack_visual_indexes": [8, 16, 24],
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_heads": 16,
    "num_position_embeddings": 2304,
    "out_hidden_size": 4096,
}
MROPE_SECTION: Final = [24, 20, 20]
"""Of half a head's 128 numbers."""

PIXELS: Final = {"shortest_edge": 65_536, "longest_edge": 16_777_216}
"""Bounds of a picture, as the processor names them."""


def make_seeing_model(folder: Path) -> Path:
    """Writes the directory, over an older one."""
    demo = demo_model_dir("vision")
    folder.mkdir(parents=True, exist_ok=True)
    for file in demo.iterdir():
        if file.suffix in {".json", ".jinja"}:
            shutil.copy(file, folder / file.name)
    config: dict[str, Any] = json.loads((demo / "config.json").read_text())
    rope = config["text_config"]["rope_parameters"] | {"mrope_section": MROPE_SECTION}
    config["text_config"] |= TEXT | {"rope_parameters": rope}
    config["vision_config"] |= VISION
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        read: dict[str, Any] = json.loads((demo / name).read_text())
        (folder / name).write_text(json.dumps(read | {"size": PIXELS}, indent=1) + "\n")
    return folder
