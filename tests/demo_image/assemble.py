"""Makes the demo's folder of what was learnt: `python -m tests.demo_image.assemble FOLDER`."""

import argparse
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file

from tests.demo_image.model import save
from workers.demo_model import demo_model_dir

MODEL_FOLDER = demo_model_dir().with_name("kvmesh-demo-image")


def main() -> None:
    """Reads the weights of `train.py`, and writes a pipeline with tokenizers and all."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("learnt", type=Path)
    arguments.add_argument("--out", type=Path, default=MODEL_FOLDER)
    options = arguments.parse_args()
    parts = ("vae", "transformer", "text_encoder_2")
    weights = {name: load_file(options.learnt / f"{name}.safetensors") for name in parts}
    with safe_open(options.learnt / "vae.safetensors", "pt") as file:
        told = file.metadata()
    save(weights, (float(told["shift_factor"]), float(told["scaling_factor"])), options.out)


if __name__ == "__main__":
    main()
