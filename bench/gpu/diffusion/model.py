"""A pipeline of Flux's kind with weights drawn by lot, large enough that a picture takes a GPU some
tenths of a second.
"""

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
    diffusers: Any = import_module("diffusers")
    small = diffusers.FluxPipeline.from_pretrained(
        demo_model_dir("image"), torch_dtype=torch.bfloat16
    )
    config = dict(small.transformer.config) | {
        "num_attention_heads": HEADS,
        "attention_head_dim": HEAD_WIDTH,
        "axes_dims_rope": (16, 56, 56),
        "num_layers": LAYERS,
        "num_single_layers": SINGLE_LAYERS,
    }
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        large = diffusers.FluxTransformer2DModel.from_config(config).to(torch.bfloat16)
    small.register_modules(transformer=large.cpu())
    small.save_pretrained(folder)
    return folder
