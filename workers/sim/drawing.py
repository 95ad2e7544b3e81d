"""Pictures are drawn without a model: prompt and seed say what, the step how much of it is seen."""

import io
from hashlib import sha256
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from protocol.diffusion import Diffuse, OutputFormat
from protocol.errors import InvalidRequest

SIDE_PIXELS_MAX: Final = 4_096
"""Bounds a side, as models of today do."""

_REFERENCE_SHARE: Final = 0.5
"""Is how much of a picture that was to be changed is seen in the end."""

Pixels = NDArray[np.uint8]
"""Has the shape [height, width, 3]."""

Kept = NDArray[np.bool_]
"""Has the shape [height, width]."""


class Drawing:
    """A Drawing is a disc before stripes, in colours of the prompt and the seed.

    Args:
        seed: makes it another one.
        reference: pixels of a picture that is changed, of the same size.
        kept: where it is not.
    """

    def __init__(
        self,
        prompt: str,
        seed: int,
        size: tuple[int, int],
        reference: Pixels | None = None,
        kept: Kept | None = None,
    ) -> None:
        digest = sha256(f"{seed} {prompt}".encode()).digest()
        self._front = np.frombuffer(digest[:3], np.uint8).astype(np.float32)
        self._back = 255.0 - self._front
        self._stripes = 2 + digest[6] % 7
        self._slope = digest[7] % 3
        self._size = size
        self._noise = np.random.default_rng(list(digest))
        self._reference = reference
        self._kept = kept

    def pixels(self, share: float = 1.0, shift: float = 0.0) -> Pixels:
        """Returns what is seen of it.

        Args:
            share: of the steps that are made; the rest is noise.
            shift: moves the disc, by shares of the width.
        """
        width, height = self._size
        across = np.linspace(0, 1, width, dtype=np.float32)[None, :]
        down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
        striped = np.floor((across + self._slope * down) * self._stripes) % 2
        disc = ((across - 0.25 - shift % 0.5) ** 2 + (down - 0.5) ** 2) < 0.04
        front = np.where(disc, 1.0, 0.25 * striped)[..., None]
        drawn = front * self._front + (1 - front) * self._back
        if self._reference is not None:
            drawn = (1 - _REFERENCE_SHARE) * drawn + _REFERENCE_SHARE * self._reference
        if share < 1.0:
            noise = self._noise.integers(0, 256, drawn.shape, dtype=np.uint8)
            drawn = share * drawn + (1 - share) * noise
        if self._reference is not None and self._kept is not None:
            drawn = np.where(self._kept[..., None], self._reference, drawn)
        return drawn.astype(np.uint8)


def reference_pixels(order: Diffuse, size: tuple[int, int]) -> Pixels | None:
    """Returns the first picture that an order brings along, in the size of what is made.

    Raises:
        InvalidRequest: it cannot be read.
    """
    if not order.references:
        return None
    try:
        with Image.open(io.BytesIO(order.references[0])) as picture:
            return np.asarray(picture.convert("RGB").resize(size))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        param = order.reference_params[0] if order.reference_params else None
        raise InvalidRequest("The picture cannot be read.", param=param) from None


def kept_pixels(order: Diffuse, size: tuple[int, int]) -> Kept | None:
    """Returns where the first picture is not to be changed: where the mask that came along is not
    transparent. None if there is no mask, or one without transparency.

    Raises:
        InvalidRequest: it cannot be read.
    """
    if not order.mask:
        return None
    try:
        with Image.open(io.BytesIO(order.mask)) as mask:
            if not mask.has_transparency_data:
                return None
            return np.asarray(mask.convert("RGBA").getchannel("A").resize(size)) > 0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InvalidRequest("The mask cannot be read.", param="mask") from None


def write_picture(pixels: Pixels, file: Path | IO[bytes], form: OutputFormat, quality: int) -> None:
    """Writes a picture to a file.

    Args:
        quality: of JPEG and WebP, in per cent.
    """
    Image.fromarray(pixels).save(file, form, quality=max(1, quality), compress_level=1)


def jpeg(pixels: Pixels) -> bytes:
    """Returns a picture as a frame of a video."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=85)
    return file.getvalue()
