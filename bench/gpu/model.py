"""A model of Qwen3-0.6B's shape with the demo model's tokenizer and no weights: SGLang makes them
up with --load-format dummy.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from workers.demo_model import demo_model_dir

SHAPE: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "max_window_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "layer_types": ["full_attention"] * 28,
}
"""What differs from the demo model's config.json."""


def make_model_dir(folder: Path) -> Path:
    """Writes the directory, over an older one."""
    demo = demo_model_dir()
    folder.mkdir(parents=True, exist_ok=True)
    for file in demo.iterdir():
        if file.suffix in {".json", ".jinja"}:
            shutil.copy(file, folder / file.name)
    config: dict[str, Any] = json.loads((demo / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | SHAPE, indent=1) + "\n")
    return folder
