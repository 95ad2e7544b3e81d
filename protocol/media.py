"""Defines the pictures, videos and sounds of a prompt, as they travel with it to a worker.

Add-only.
"""

from typing import Annotated, Final, Literal, get_args

from msgspec import Meta, Struct

from protocol.fields import Count, Name
from protocol.limits import MESSAGE_BYTES_MAX

Modality = Literal["image", "video", "audio"]

MODALITIES: Final[tuple[Modality, ...]] = get_args(Modality)

MEDIA_MAX: Final = 256
"""Bounds the media of one prompt: a page each of a long document; models of today were trained on
some tens.
"""

SIDE_PIXELS_MAX: Final = 2**20
"""Bounds a side of a picture, for whoever computes with it."""

ENCODING_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Bounds what is made of one picture: 16,384 tokens of the widest models of today, 8,192 numbers of
four bytes each for four layers, are 2 GB, of common ones 0.1 GB.
"""

TokenCount = Annotated[int, Meta(ge=0, le=2**32 - 1)]

ImageSize = tuple[
    Annotated[int, Meta(ge=1, le=SIDE_PIXELS_MAX)], Annotated[int, Meta(ge=1, le=SIDE_PIXELS_MAX)]
]
"""Is width and height in pixels."""


GRID_MAX: Final = 2**20
"""Bounds a side of a picture's grid, which has a row for some 14 pixels."""

_BYTES_OF: Final = {"float32": 4, "float16": 2, "bfloat16": 2}

GridSide = Annotated[int, Meta(ge=1, le=GRID_MAX)]


class Encoding(Struct, frozen=True, omit_defaults=True):
    """An Encoding is what another worker made of a picture, for a language model to take instead
    of it: the vectors of its tokens, the pixels that its encoder takes, or its grid alone.
    """

    holds: Literal["vectors", "pixels", "grid"]
    grid: tuple[GridSide, GridSide, GridSide]
    """Counts the patches that the picture was cut into: frames, rows and columns of them."""
    columns: Count = 0
    """Counts the numbers of each vector, or of each patch."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    data: Annotated[bytes, Meta(max_length=ENCODING_BYTES_MAX)] = b""
    """Holds the numbers, little-endian, shape [rows, columns]: a row for each token, or patch."""

    @property
    def rows(self) -> int:
        """Returns how many rows the data has; -1 where it is not made of whole rows."""
        row_bytes = self.columns * _BYTES_OF[self.dtype]
        if not row_bytes:
            return -1 if self.data else 0
        rows, rest = divmod(len(self.data), row_bytes)
        return -1 if rest else rows

    @property
    def patches(self) -> int:
        """Returns how many patches the grid has."""
        frames, rows, columns = self.grid
        return frames * rows * columns


class PromptMedia(Struct, frozen=True, omit_defaults=True):
    """A PromptMedia is one picture, video or sound of a prompt, as its client sent it."""

    modality: Modality
    data: Annotated[bytes, Meta(max_length=MESSAGE_BYTES_MAX)]
    digest: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    """Is made of the bytes by the frontend, never by a client: engines take media of equal digests
    for the same.
    """
    at: TokenCount = 0
    """Is the position in the prompt of the first token that stands for it."""
    tokens: TokenCount = 0
    """Counts the tokens that stand for it, all the same one; 0: there is one, and only the engine
    finds out how many it takes.
    """
    param: Name = ""
    """Names the field of the client's request that it came from, for errors about it."""
    encoding: Encoding | None = None
    """Is what another worker made of it, where `data` is empty."""


class MediaTaken(Struct, frozen=True, omit_defaults=True):
    """MediaTaken says which media a model takes in its prompts, and what stands there for them."""

    image_token_id: Count | None = None
    """Stands for a picture; None where the model takes none."""
    video_token_id: Count | None = None
    audio_token_id: Count | None = None
    counts_images: bool = False
    """Says that the tokens of a picture follow from its size, and workers tell how many."""
    encoder: Name = ""
    """Names, by what its files say, the part of the model that makes vectors of pictures: workers
    of one name make the same. Empty where that part cannot stand on its own.
    """

    def token_id(self, modality: Modality) -> int | None:
        """Returns the token that stands for a medium of that kind; None if the model takes none."""
        match modality:
            case "image":
                return self.image_token_id
            case "video":
                return self.video_token_id
            case "audio":
                return self.audio_token_id

    @property
    def modalities(self) -> list[Modality]:
        """Returns the kinds of media that the model takes."""
        return [each for each in MODALITIES if self.token_id(each) is not None]
