"""What images, videos and sounds are is read from their first bytes, and nothing is decoded."""

import struct
import warnings
from functools import cache
from importlib import import_module
from io import BytesIO
from typing import Any, Final, NamedTuple

from frontend.media.part import MediaSource
from protocol.errors import InvalidRequest

_IMAGES: Final = {
    "png": ("PIL.PngImagePlugin", "PngImageFile"),
    "jpeg": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "webp": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "gif": ("PIL.GifImagePlugin", "GifImageFile"),
    "bmp": ("PIL.BmpImagePlugin", "BmpImageFile"),
}
"""Names the reader of each format of images. They are Pillow's, since that is what engines open
them with: another reader would see another size in a file made to be read two ways. Its
`Image.open` is not asked: it also tries formats that nobody sends, and judges pixels by a bound
of its own.
"""

_KINDS: Final = {
    "image": "PNG, JPEG, WEBP, GIF or BMP",
    "video": "MP4, WEBM or MKV",
    "audio": "WAV, MP3, FLAC or OGG",
}


_READS_MAX: Final = 10_000
"""Bounds the reads of one header, some 15 ms: readers go from mark to mark until the image begins,
and marks of four bytes took 0.9 s a megabyte. A megabyte of metadata is 8,000 reads in a GIF, 50 in
a JPEG.
"""

_INFLATED: Final = frozenset({b"iCCP", b"zTXt", b"iTXt"})
_INFLATED_MAX: Final = 32
"""Bounds the parts of a PNG's header that Pillow inflates, each a kilobyte that may become a
megabyte, 3 ms: a thousand of them took 2.7 s. Editors write one or two.
"""


class Header(NamedTuple):
    """A Header says what an item is: its format, and its pixels if it is an image (else 0)."""

    format: str
    width: int
    height: int


def read_header(data: bytes, source: MediaSource, *, pixels_max: int) -> Header:
    """Returns what the header of `data` says; it may take milliseconds, and imports Pillow once.

    Raises:
        InvalidRequest: it is damaged, of a format that is not taken, or has too many pixels.
    """
    name = _format_of(data, source.modality)
    if name is None:
        raise InvalidRequest(
            f"The {source.modality} is not {_KINDS[source.modality]}.", param=source.param
        )
    if source.modality != "image":
        return Header(name, 0, 0)
    width, height = _size_of(data, name, source)
    if width * height > pixels_max:
        raise InvalidRequest(
            f"The image has {width} x {height} pixels; at most {pixels_max} are taken.",
            param=source.param,
        )
    return Header(name, width, height)


def _size_of(data: bytes, name: str, source: MediaSource) -> tuple[int, int]:
    if name == "png" and _inflates_too_much(data):
        raise _damaged(source)
    pillow = _pillow()
    module, reader = _IMAGES[name]
    opener: Any = getattr(import_module(module), reader)
    try:
        with opener(_CountedFile(data)) as image:
            width, height = image.size
    except pillow.DecompressionBombError:  # of a frame that is larger than its file's header says
        raise InvalidRequest("The image has too many pixels.", param=source.param) from None
    # Whatever Pillow's readers raise of bytes that they do not understand; MemoryError is theirs
    # of a size that no memory holds.
    except (
        SyntaxError,
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        OSError,
        EOFError,
        MemoryError,
        RuntimeError,
        struct.error,
    ):
        raise _damaged(source) from None
    if width <= 0 or height <= 0:
        raise _damaged(source)
    return width, height


@cache
def _pillow() -> Any:
    """Returns Pillow, imported when the first image comes: 0.1 s and 3 MB that a server of text
    never needs.
    """
    # It warns of what clients sent, in words that have their numbers; Python remembers each text.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return import_module("PIL.Image")


def _inflates_too_much(data: bytes) -> bool:
    """Tells whether more than a few parts of a PNG before its image are compressed."""
    at, inflated = len(b"\x89PNG\r\n\x1a\n"), 0
    for _ in range(_READS_MAX):  # Pillow reads more than once for each
        kind = data[at + 4 : at + 8]
        if not kind or kind == b"IDAT":
            break
        inflated += kind in _INFLATED
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return inflated > _INFLATED_MAX


class _CountedFile(BytesIO):
    """A _CountedFile gives its bytes out until it was asked too often."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _READS_MAX

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise OSError("too many reads")
        return super().read(size)


def _damaged(source: MediaSource) -> InvalidRequest:
    return InvalidRequest("The image is damaged: its header cannot be read.", param=source.param)


def _format_of(data: bytes, modality: str) -> str | None:
    if modality == "image":
        return _image_format(data)
    return _video_format(data) if modality == "video" else _audio_format(data)


def _image_format(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    return "bmp" if data.startswith(b"BM") else None


def _video_format(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return "mp4"
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        # The document type stands in the first element, which is some 40 bytes long.
        return "webm" if b"webm" in data[:64] else "mkv"
    return None


def _audio_format(data: bytes) -> str | None:
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        return "wav"
    if data.startswith(b"fLaC"):
        return "flac"
    if data.startswith(b"OggS"):
        return "ogg"
    # A frame of MPEG audio begins with eleven ones, then a version and a layer that exist.
    frame = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06 != 0
    return "mp3" if frame or data.startswith(b"ID3") else None
