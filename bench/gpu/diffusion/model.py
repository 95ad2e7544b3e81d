"""A pipeline of Flux's kind with weights drawn by lot, large enough that a picture takes a GPU some
tenths of a second.
"""

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from workers.demo_model import demo_model_dir

LIKE: Final = "FLUX.1-dev"
"""SGLang runs its own pipeline for a model of this name (--model-id)."""

HEADS: Final = 16
HEAD_WIDTH: Final = 128
LAYERS, SINGLE_LAYERS = 6, 12


def make_pipeline(folder: Path) -> Path:
    """Writes the pipeline's directory: the demo model's, with a transformer of 1.2 billion
    parameters.
    """
    torch: Any = import_module("torch")
    transformers: Any = import_module("diffusers").FluxTransformer2DModel
    shutil.copytree(demo_model_dir("image"), folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "transformer")
    config = transformers.load_config(demo_model_dir("image") / "transformer") | {
        "num_attention_heads": HEADS,
        "attention_head_dim": HEAD_WIDTH,
        "axes_dims_rope": (16, 56, 56),
        "num_layers": LAYERS,
        "num_single_layers": SINGLE_LAYERS,
    }
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        large = transformers.from_config(config).to(torch.bfloat16)
    large.cpu().save_pretrained(folder / "transformer")
    return folder
