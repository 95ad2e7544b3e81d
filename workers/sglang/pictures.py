"""Pictures are decoded for whoever encodes them, counted by their sizes, and put into batches.

Imports neither SGLang nor torch.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from protocol.errors import EngineFault, InvalidRequest
from protocol.limits import MESSAGE_CHARS_MAX
from protocol.media import ImageSize, PromptMedia
from protocol.replies import Failed

TRIED_SIZES: Final[Sequence[ImageSize]] = ((640, 480), (333, 517))
"""Pictures of these sizes are counted and encoded at a start, for comparison."""

BATCH_TOKENS_MAX: Final = 16_384
"""What is encoded at once has at most so many tokens, unless it is one picture: they are 65,536
patches, of which the encoders of today hold some 50 KB each while they compute, 3 GB in all.
"""


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


def miscounted(picture: PromptMedia, rows: int) -> Failed | None:
    """Returns the failure of a picture that became another number of tokens than its prompt has for
    it; None where the prompt counts right, or not at all.
    """
    if picture.tokens in (0, rows):
        return None
    return Failed(
        EngineFault.code,
        f"An image became {rows} tokens, and its prompt has {picture.tokens} for it.",
        picture.param or None,
    )


def batches(counts: Sequence[int], most: int = BATCH_TOKENS_MAX) -> Iterator[range]:
    """Yields places of pictures that are encoded together, in order; a picture of more tokens than
    fit is alone.
    """
    start = held = 0
    for place, count in enumerate(counts):
        if place > start and held + count > most:
            yield range(start, place)
            start, held = place, 0
        held += count
    if counts:
        yield range(start, len(counts))
