"""A medium within a request: a data URL (RFC 2397)."""

import binascii
from typing import Final

from protocol.errors import InvalidRequest

SCHEME: Final = "data:"
_BASE64: Final = ";base64"
_HEAD_CHARS_MAX: Final = 1_024
"""Bounds what stands before the comma; media types with parameters have some hundred."""

_SLICE_CHARS: Final = 2**18
"""Bounds what is looked at in one call, a multiple of four: each keeps the interpreter to itself,
so that the loop would stand still although it runs in a thread.
"""

_SPACES: Final = " \t\r\n"
_SPACE: Final = dict.fromkeys(map(ord, _SPACES))


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
    comma = url.find(",", 0, _HEAD_CHARS_MAX)
    if comma < 0 or not url[len(SCHEME) : comma].lower().endswith(_BASE64):
        raise InvalidRequest("A data URL must be in base64: data:image/png;base64,….", param=param)
    # Before anything is made of it. Line breaks make it longer by a thirtieth, and what is only
    # spaces is not worth a search.
    if (len(url) - comma) * 3 // 4 > bytes_max * 17 // 16 + 64:
        raise too_large(bytes_max, param)
    try:
        data = _decoded(url, comma + 1, bytes_max)
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


def _decoded(url: str, start: int, bytes_max: int) -> bytes:
    """Returns what the characters from `start` on stand for, or its beginning where that is more
    than so many bytes.
    """
    if not url.isascii():  # known of a string; to look at others takes a hundred times as long
        raise ValueError(url[:start])
    pieces: list[bytes] = []
    size, left = 0, ""
    end = _end_of_data(url, start)
    for at in range(start, end, _SLICE_CHARS):
        bare = left + _without_spaces(url[at : min(at + _SLICE_CHARS, end)])
        if "=" in bare:  # the padding was behind the end
            raise ValueError(at)
        whole = len(bare) if at + _SLICE_CHARS >= end else len(bare) // 4 * 4
        left = bare[whole:]
        padding = "=" * (-whole % 4)
        pieces.append(binascii.a2b_base64(bare[:whole] + padding, strict_mode=True))
        size += len(pieces[-1])
        if size > bytes_max:
            break
    return b"".join(pieces)


def _end_of_data(url: str, start: int) -> int:
    """Returns where padding and spaces begin that nothing follows."""
    end = len(url)
    while end > start:
        at = max(start, end - _SLICE_CHARS)
        if tail := url[at:end].rstrip(_SPACES + "="):
            return at + len(tail)
        end = at
    return start


def _without_spaces(text: str) -> str:
    return text.translate(_SPACE) if any(each in text for each in _SPACES) else text
