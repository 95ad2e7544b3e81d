"""Makes the demo's folder of what was learnt: `python -m tests.demo_image.assemble FOLDER`."""

import argparse
from pathlib import Path

from safetensors.torch import load_file

from tests.demo_image.model import save
from tests.demo_image.train import scaling_of
from workers.demo_model import demo_model_dir

MODEL_FOLDER = demo_model_dir().with_name("kvmesh-demo-image")


def main() -> None:
    """Reads the weights of `train.py`, and writes a pipeline with tokenizers and all."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("learnt", type=Path)
    arguments.add_argument("--out", type=Path, default=MODEL_FOLDER)
    options = arguments.parse_args()
    parts = ("vae", "transformer", "text_encoder", "text_encoder_2")
    weights = {name: load_file(options.learnt / f"{name}.safetensors") for name in parts}
    save(weights, scaling_of(options.learnt), options.out)


if __name__ == "__main__":
    main()
