"""The pictures that a request brings to be changed, or to begin with, are read and checked."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from frontend.api.fields.diffusion import DiffusionFields
from frontend.api.fields.form_bodies import Upload
from frontend.api.fields.picture_sources import sources_of, uploaded
from frontend.api.images.schemas import ImageEditRequest
from frontend.media.part import MediaItem, MediaSource
from frontend.media.reader import MediaReader
from protocol.diffusion import REFERENCES_MAX
from protocol.errors import InvalidRequest

FILE_FIELDS: Final = ("image", "images", "mask", "input_reference")
"""Names the fields that forms have files in."""

_MASKS: Final = ("png", "webp")
"""Names the formats that can be transparent."""


class References(NamedTuple):
    """References are pictures that were read: those to be changed, and the mask of the first."""

    pictures: list[MediaItem]
    mask: MediaItem | None = None


async def read_references(
    request: DiffusionFields,
    uploads: Sequence[Upload],
    reader: MediaReader,
    hold: Callable[[int], None],
) -> References:
    """Returns the pictures that a request brings or names, in the order of its fields.

    Args:
        hold: as MediaReader.read.
    Raises:
        InvalidRequest: there are too many, one cannot be read or is damaged, or the mask does not
        fit.
        Overloaded: as MediaReader.read.
    """
    sources = list(_sources(request, uploads))
    masks = [source for source in sources if source.param.startswith("mask")]
    pictures = [source for source in sources if source not in masks]
    if len(pictures) > REFERENCES_MAX:
        raise InvalidRequest(
            f"A request brings at most {REFERENCES_MAX} pictures, got {len(pictures)}.",
            param=pictures[REFERENCES_MAX].param,
        )
    if len(masks) > 1:
        raise InvalidRequest("A request has one mask.", param=masks[1].param)
    if not sources:
        return References([])
    items = await reader.read([*pictures, *masks], hold)
    read = items[: len(pictures)]
    if not masks:
        return References(read)
    mask = items[-1]
    _check_mask(mask, read)
    return References(read, mask)


def _sources(request: DiffusionFields, uploads: Sequence[Upload]) -> Iterator[MediaSource]:
    yield from uploaded(uploads)
    if isinstance(request, ImageEditRequest):
        yield from sources_of(request.image, "image")
        yield from sources_of(request.images, "images")
        yield from sources_of(request.mask, "mask")
    yield from sources_of(request.input_reference, "input_reference")


def _check_mask(mask: MediaItem, pictures: Sequence[MediaItem]) -> None:
    if not pictures:
        raise InvalidRequest("A mask needs an image.", param="image")
    if mask.format not in _MASKS:
        raise InvalidRequest("The mask must be PNG or WEBP, and partly transparent.", param="mask")
    first = pictures[0]
    if (mask.width, mask.height) != (first.width, first.height):
        raise InvalidRequest(
            (
                f"The mask has {mask.width} x {mask.height} pixels, and the image "
                f"{first.width} x {first.height}."
            ),
            param="mask",
        )
