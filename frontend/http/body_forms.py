"""Reads bodies that are JSON, but not plain UTF-8: of another declared charset, compressed, or with
a byte order mark.
"""

import codecs
import re
import zlib
from collections.abc import Iterator
from typing import Final

from protocol.errors import InvalidRequest, UnsupportedMediaType

BYTE_ORDER_MARK: Final = codecs.BOM_UTF8
"""Is what some editors and .NET write before UTF-8; no JSON begins with it."""

PLAIN_TYPE: Final = b"application/json"
"""Is the content-type of nearly every request."""

ACCEPTED: Final = ((b"accept", PLAIN_TYPE), (b"accept-encoding", b"gzip, deflate"))
"""Lists the headers of the answer to a body of another form."""

SLICE_BYTES: Final = 1 << 20
"""Bounds what is unpacked in one turn of the loop, some three milliseconds."""

_FEED_BYTES: Final = 64 * 1024
"""Bounds what the library is given at once, since it copies what it did not get to."""

_JSON_TYPE: Final = re.compile(
    rb"\s*((application/([\w.+-]+\+)?|text/)json\s*(;.*)?)?", re.IGNORECASE
).fullmatch
"""Matches a content-type that a body may have; none at all is taken for JSON too."""

_CHARSET: Final = re.compile(rb';\s*charset\s*=\s*"?([^\s;"]*)', re.IGNORECASE).search

_CODECS: Final = dict.fromkeys(("", "utf-8", "utf8", "ascii", "us-ascii")) | {
    name: name
    for name in (
        *("utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be"),
        *(
            "iso-8859-1",
            "latin1",
            "iso-8859-2",
            "iso-8859-15",
            "windows-1250",
            "windows-1251",
            "windows-1252",
            "koi8-r",
        ),
        *("shift_jis", "euc-jp", "gbk", "gb2312", "gb18030", "big5", "euc-kr"),
    )
}
"""Maps a charset as declared to Python's codec, None for UTF-8.

A list of our own: Python remembers for ever every name that it was asked for.
"""

_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_RAW_DEFLATE: Final = -15


def codec_of(content_type: bytes) -> str | None:
    """Returns Python's codec for a body of that content-type; None for UTF-8.

    Raises:
        UnsupportedMediaType: it is no JSON, or of a charset that nobody uses.
    """
    if content_type == PLAIN_TYPE:
        return None
    if not _JSON_TYPE(content_type):
        raise UnsupportedMediaType(
            f"The content-type of the request is {_shown(content_type)}; this endpoint takes "
            "application/json."
            " Set the header (with curl: -H 'content-type: application/json')."
        )
    declared = _CHARSET(content_type)
    name = declared.group(1).decode("latin-1").lower() if declared else ""
    if name not in _CODECS:
        raise UnsupportedMediaType(
            f"The charset {_shown(name)} of the request is not known here; send the body in UTF-8."
        )
    return _CODECS[name]


def coding_of(content_encoding: bytes) -> str | None:
    """Returns the name of the compression for `unpacked`; None if there is none.

    Raises:
        UnsupportedMediaType: naming a coding that is not taken.
    """
    name = content_encoding.decode("latin-1").strip().lower()
    if name in ("", "identity"):
        return None
    if name not in _WINDOW_BITS:
        raise UnsupportedMediaType(
            (
                f"The content-encoding {_shown(name)} is not supported; send the body as it is, "
                "or as gzip or deflate."
            ),
            param="content-encoding",
        )
    return name


def unpacked(packed: bytes | bytearray, coding: str) -> Iterator[bytes]:
    """Yields the unpacked body, in slices of at most SLICE_BYTES, each made when it is asked for:
    whoever stops asking at a bound is safe from bombs.

    Raises:
        InvalidRequest: it is not one whole stream of that coding.
    """
    # Both forms go by the name of deflate; the wrapped one, which is right, begins with a multiple
    # of 31.
    wrapped = coding != "deflate" or (
        len(packed) > 1 and packed[0] & 15 == 8 and int.from_bytes(packed[:2]) % 31 == 0
    )
    stream = zlib.decompressobj(_WINDOW_BITS[coding] if wrapped else _RAW_DEFLATE)
    try:
        for start in range(0, len(packed), _FEED_BYTES):
            pending = packed[start : start + _FEED_BYTES]
            while pending:
                if stream.eof:
                    raise InvalidRequest(
                        f"The body goes on behind the end of its {coding} stream.",
                        param="content-encoding",
                    )
                yield stream.decompress(pending, SLICE_BYTES)
                pending = stream.unconsumed_tail or stream.unused_data
        yield stream.flush()  # of what was taken already: less than one copy
    except zlib.error:
        raise InvalidRequest(
            f"The body is not what its content-encoding says: {coding}.", param="content-encoding"
        ) from None
    if not stream.eof:
        raise InvalidRequest(
            f"The body ends before its {coding} stream does.", param="content-encoding"
        )


def as_utf8(body: bytes | bytearray, codec: str) -> bytes:
    """Returns a body of that codec as UTF-8, without a byte order mark.

    Raises:
        InvalidRequest: it is no text of that charset.
    """
    try:
        return body.decode(codec).removeprefix("\ufeff").encode()
    except UnicodeError:
        raise InvalidRequest(
            f"The body is not in the charset that its content-type declares: {codec}.",
            param="content-type",
        ) from None


def _shown(value: bytes | str) -> str:
    return repr((value.decode("latin-1") if isinstance(value, bytes) else value)[:100])
