"""What a medium's first bytes say of it: its format and, of a picture, its size."""

import io
from typing import Final

from protocol.errors import InvalidRequest
from protocol.media import Modality

_PICTURES: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""These formats browsers show; others' decoders are seldom looked at by anybody."""

_SIGNATURES: Final[dict[Modality, tuple[tuple[int, bytes, str], ...]]] = {
    "video": (
        (4, b"ftyp", "mp4"),
        (0, b"\x1a\x45\xdf\xa3", "webm"),
        (8, b"AVI ", "avi"),
    ),
    "audio": (
        (8, b"WAVE", "wav"),
        (0, b"ID3", "mp3"),
        (0, b"\xff\xfb", "mp3"),
        (0, b"\xff\xf3", "mp3"),
        (0, b"fLaC", "flac"),
        (0, b"OggS", "ogg"),
        (4, b"ftyp", "m4a"),
    ),
}
"""Maps a kind of media to offsets, the bytes that stand there, and the format that they mean."""


def format_of(modality: Modality, data: bytes, param: str) -> str:
    """Returns the format of a video or sound.

    Raises:
        InvalidRequest: it is none of those that are known.
    """
    for offset, signature, form in _SIGNATURES[modality]:
        if data.startswith(signature, offset):
            return form
    forms = ", ".join(dict.fromkeys(form for _, _, form in _SIGNATURES[modality]))
    raise InvalidRequest(f"The {modality} is in none of these formats: {forms}.", param=param)


def picture_of(data: bytes, pixels_max: int, param: str) -> tuple[str, int, int]:
    """Returns format, width and height in pixels, of which the header alone is read.

    To be called in a thread: the first call imports Pillow, some 60 ms.

    Raises:
        InvalidRequest: it is no picture, damaged in its header, or has too many pixels.
    """
    from PIL import Image  # noqa: PLC0415 - a frontend that sees none shall not pay for it

    Image.MAX_IMAGE_PIXELS = None  # the bound is here
    try:
        with Image.open(io.BytesIO(data), formats=_PICTURES) as image:
            form, (width, height) = str(image.format), image.size
    # whatever a damaged header makes Pillow raise
    except Exception:  # noqa: BLE001
        known = ", ".join(_PICTURES)
        raise InvalidRequest(
            f"The image is damaged, or in none of these formats: {known}.", param=param
        ) from None
    if width * height > pixels_max or not width * height:
        raise InvalidRequest(
            f"The image has {width} times {height} pixels; at most {pixels_max} are taken.",
            param=param,
        )
    return form.lower(), width, height
