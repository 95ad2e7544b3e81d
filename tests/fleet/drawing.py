"""Simulated workers that make pictures, and what their clients do."""

import io
import random
from typing import Final

from PIL import Image

MODEL: Final = "draws"
DRAWS: Final = ("--image-diffusion-worker", "--served-model-name", MODEL)


def noise(side: int, seed: int = 0) -> bytes:
    """A picture of so many pixels a side; what is drawn after it is large as a file."""
    pixels = random.Random(seed).randbytes(side * side * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).save(file, "PNG")
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    """A picture that was made, decoded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
