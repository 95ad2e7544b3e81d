"""Pictures of several requests are encoded together, and told apart again: what one of them does
wrong is no other's failure.

Imports no SGLang, and torch only where there are numbers.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal

from protocol.errors import EngineFault
from protocol.media import Encoding, PromptMedia
from protocol.replies import Failed
from workers.engine import BROKEN
from workers.sglang.pictures import GridImages, decoded, refused

log = logging.getLogger(__name__)

BATCH_TOKENS_MAX: Final = 16_384
"""What is encoded at once has at most so many tokens, unless it is one picture: they are 65,536
patches, of which the encoders of today hold some 50 KB each while they compute, 3 GB in all.
"""

Numbers = tuple[tuple[int, int, int], Any]
"""Is the grid of a picture and what was made of it, a tensor on the CPU, shape [rows, columns]."""


class DeviceLostError(Exception):
    """A DeviceLostError says that nothing will be encoded any more."""


class EncodeBatches:
    """EncodeBatches makes encodings of pictures with what makes numbers of them.

    Args:
        images: counts their tokens.
        compute: makes numbers of decoded pictures; a DeviceLostError of it is passed on.
        holds: what the numbers are.
    """

    def __init__(
        self,
        images: GridImages,
        compute: Callable[[Sequence[Any]], Sequence[Numbers]],
        holds: Literal["vectors", "pixels"],
    ) -> None:
        self._images = images
        self._compute = compute
        self._holds: Literal["vectors", "pixels"] = holds

    def tokens_of(self, images: Sequence[Any]) -> list[int]:
        """Encodes pictures that Pillow has read; returns how many tokens each became."""
        return [
            frames * rows * columns // self._images.merged
            for (frames, rows, columns), _ in self._compute(images)
        ]

    def encode(self, pictures: Sequence[PromptMedia]) -> list[Encoding | Failed]:
        """Returns what was made of each picture, or why nothing was.

        Raises:
            DeviceLostError: nothing will be encoded any more.
        """
        made: list[Any] = [decoded(picture) for picture in pictures]
        places: list[int] = []
        counts: list[int] = []
        for at, image in enumerate(made):
            if isinstance(image, Failed):
                continue
            try:
                counts += self._images.tokens([image.size])
                places.append(at)
            except ValueError as error:  # of sides that are no shape for a picture
                made[at] = refused(pictures[at], f"The image cannot be encoded: {error}")
        for batch in batches(counts):
            chosen = [places[place] for place in batch]
            numbers = self._numbers([made[at] for at in chosen])
            for at, each in zip(chosen, numbers, strict=True):
                made[at] = each if isinstance(each, Failed) else self._told(pictures[at], *each)
        return made

    def _numbers(self, images: Sequence[Any]) -> list[Numbers | Failed]:
        """Returns the numbers of each picture, or its failure: what fails together is tried
        alone.
        """
        try:
            return [*self._compute(images)]
        except DeviceLostError:
            raise
        except Exception:
            if len(images) > 1:
                return [each for image in images for each in self._numbers([image])]
            log.exception("a picture could not be encoded")
            return [BROKEN]

    def _told(
        self, picture: PromptMedia, grid: tuple[int, int, int], numbers: Any
    ) -> Encoding | Failed:
        frames, rows, columns = grid
        tokens = frames * rows * columns // self._images.merged
        if picture.tokens not in (0, tokens):
            return Failed(
                EngineFault.code,
                f"An image became {tokens} tokens, and its prompt has {picture.tokens} for it.",
                picture.param or None,
            )
        made = Encoding(
            self._holds,
            grid,
            int(numbers.shape[1]),
            str(numbers.dtype).removeprefix("torch."),  # pyright: ignore[reportArgumentType]  # one of those, or of no size below
            _bytes_of(numbers),
        )
        if made.rows != (tokens if self._holds == "vectors" else made.patches):
            log.error("an image of %d tokens became %s", tokens, tuple(numbers.shape))
            return BROKEN
        return made


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


def _bytes_of(numbers: Any) -> bytes:
    """Returns a tensor's numbers as they lie in memory, row by row, of any type."""
    import torch  # noqa: PLC0415

    return numbers.contiguous().view(torch.uint8).numpy().tobytes()
