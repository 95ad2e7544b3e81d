"""Pictures are decoded for whoever encodes them, and counted by their sizes.

Imports neither SGLang nor torch.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from protocol.errors import InvalidRequest
from protocol.limits import MESSAGE_CHARS_MAX
from protocol.media import ImageSize, PromptMedia
from protocol.replies import Failed

TRIED_SIZES: Final[Sequence[ImageSize]] = ((640, 480), (333, 517))
"""Pictures of these sizes are counted and encoded at a start, for comparison."""


class GridImages:
    """GridImages is an ImageCounter of a model whose pictures become a grid of patches.

    Args:
        processor: the model's Hugging Face image processor.
        options: those that it is called with.
    """

    def __init__(self, processor: Any, options: Mapping[str, Any]) -> None:
        self._processor = processor
        self._options = dict(options)
        self.merged = int(processor.merge_size) ** 2
        """So many patches become one token."""

    def tokens(self, sizes: Sequence[ImageSize]) -> list[int]:
        """Returns how many tokens stand for pictures of these sizes.

        Raises:
            ValueError: no picture of such a size can be encoded.
        """
        return [
            int(self._processor.get_number_of_image_patches(height, width, self._options))
            // self.merged
            for width, height in sizes
        ]


def decoded(picture: PromptMedia) -> Any:
    """Returns the picture as Pillow has it, in RGB; a Failed where it is none."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # only models that see need it

    if picture.modality != "image":
        return refused(picture, "Only images can be encoded.")
    try:
        with Image.open(io.BytesIO(picture.data)) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return refused(picture, "The image cannot be decoded: it is damaged.")


def refused(picture: PromptMedia, message: str) -> Failed:
    """Returns the failure of a picture that its client must change."""
    return Failed(InvalidRequest.code, message[:MESSAGE_CHARS_MAX], picture.param or None)
