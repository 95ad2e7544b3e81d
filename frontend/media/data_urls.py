"""A medium within a request: a data URL (RFC 2397)."""

import binascii
from typing import Final

from protocol.errors import InvalidRequest

SCHEME: Final = "data:"
_BASE64: Final = ";base64"
_SLICE_CHARS: Final = 2**18
"""Bounds what is decoded in one call, a multiple of four: the decoder keeps the interpreter to
itself, so that the loop would stand still although it runs in a thread.
"""

_SPACE: Final = dict.fromkeys(map(ord, " \t\r\n"))


def is_data_url(url: str) -> bool:
    """Tells whether a URL holds its data itself."""
    return url[: len(SCHEME)].lower() == SCHEME


def data_of(url: str, bytes_max: int, param: str) -> bytes:
    """Returns what a data URL holds; line breaks and a missing padding are forgiven.

    Args:
        param: the field that it came from.
    Raises:
        InvalidRequest: it is not in base64, damaged, or holds more than so many bytes.
    """
    head, comma, payload = url[len(SCHEME) :].partition(",")
    if not comma or not head.lower().endswith(_BASE64):
        raise InvalidRequest("A data URL must be in base64: data:image/png;base64,….", param=param)
    # before anything is made of it; the few characters of padding do not matter
    if (
        len(payload) // 4 * 3 > bytes_max + 2
        and len(payload.translate(_SPACE)) // 4 * 3 > bytes_max + 2
    ):
        raise too_large(bytes_max, param)
    try:
        data = _decoded(payload)
    except ValueError:
        raise InvalidRequest("The data URL is no valid base64.", param=param) from None
    if not data:
        raise InvalidRequest("The data URL is empty.", param=param)
    if len(data) > bytes_max:
        raise too_large(bytes_max, param)
    return data


def too_large(bytes_max: int, param: str) -> InvalidRequest:
    """Returns the error for a medium of more bytes than one may have."""
    return InvalidRequest(f"An image or other medium has at most {bytes_max} bytes.", param=param)


def _decoded(payload: str) -> bytes:
    try:
        return _in_slices(payload)
    except ValueError:  # the usual case has neither breaks nor a lack of padding
        bare = payload.translate(_SPACE).rstrip("=")
        return _in_slices(bare + "=" * (-len(bare) % 4))


def _in_slices(payload: str) -> bytes:
    pieces: list[bytes] = []
    for at in range(0, len(payload), _SLICE_CHARS):
        slice_ = payload[at : at + _SLICE_CHARS]
        if slice_.endswith("=") and at + _SLICE_CHARS < len(payload):
            raise ValueError(at)
        pieces.append(binascii.a2b_base64(slice_, strict_mode=True))
    return b"".join(pieces)
