"""Run as a program: SGLang's real generator of pictures, a folder of a Flux and what to draw.

    python engine.py FOLDER < orders > made

Orders are MessagePack in base64: a list of the generator's sampling parameters. What is made is one
more such list, of pictures: height, width and RGB bytes, or nothing where drawing failed.
"""

import base64
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from workers.sglang.cpu import activate_if_cpu_host

NATIVE = "FLUX.1-dev"
"""By this name SGLang takes its own pipeline, not that of diffusers."""

ON_CPU = {"SGLANG_DIFFUSION_PLATFORM_OVERRIDE": "cpu", "HF_HUB_OFFLINE": "1"}


def started(folder: Path) -> Any:
    """A generator; `shutdown` ends it."""
    if activate_if_cpu_host():
        os.environ.update(ON_CPU)
    from sglang.multimodal_gen import DiffGenerator  # noqa: PLC0415  # not before the stand-ins

    return DiffGenerator.from_pretrained(model_path=str(folder), model_id=NATIVE, num_gpus=1)


def picture(generator: Any, order: dict[str, Any]) -> tuple[int, int, bytes] | None:
    """One picture by the generator."""
    made = generator.generate(
        sampling_params_kwargs={**order, "save_output": False, "return_frames": True}
    )
    if made is None:
        return None
    (frame,) = made.frames
    height, width, _ = frame.shape
    return height, width, frame.tobytes()


def main() -> None:
    """Draws what standard input orders."""
    orders = msgspec.msgpack.decode(base64.b64decode(sys.stdin.read()))
    generator = started(Path(sys.argv[1]))
    try:
        made = [picture(generator, order) for order in orders]
    finally:
        generator.shutdown()
    print("made", base64.b64encode(msgspec.msgpack.encode(made)).decode())


if __name__ == "__main__":
    main()
