"""A medium of a prompt: what a client named, and what it turned out to be."""

from dataclasses import dataclass

from protocol.media import Modality


@dataclass(frozen=True, slots=True)
class MediaSource:
    """A MediaSource is what a client named, a data URL or one to be fetched, or brought as a file.

    Attributes:
        url: empty of a file.
        param: the field of the client's request that names it.
        data: of a file.
    """

    modality: Modality
    url: str
    param: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class MediaItem:
    """A MediaItem is a medium that has been read and checked.

    Attributes:
        width, height: of a picture, in pixels; 0 of anything else.
        format: what its first bytes say, in small letters: png, jpeg, mp4 …
        digest: made of the bytes, 63 bits, never 0.
        param: the field of the client's request that named it.
    """

    modality: Modality
    data: bytes
    width: int
    height: int
    format: str
    digest: int
    param: str
