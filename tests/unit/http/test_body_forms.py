"""Compressed bodies and other charsets, without a server."""

import gzip
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.http.body_forms import SLICE_BYTES, as_utf8, codec_of, coding_of, unpacked
from protocol.errors import InvalidRequest, UnsupportedMediaType

FORMS = {"gzip": gzip.compress, "deflate": zlib.compress}


def raw_deflate(body: bytes) -> bytes:
    return zlib.compress(body, wbits=-15)


@given(st.binary(max_size=10_000), st.integers(1, 300))
def test_whatever_was_packed_comes_back(body: bytes, times: int) -> None:
    body *= times
    for coding, pack in [*FORMS.items(), ("deflate", raw_deflate)]:
        pieces = list(unpacked(pack(body), coding))
        assert b"".join(pieces) == body
        assert max(map(len, pieces)) <= SLICE_BYTES


@given(st.binary(max_size=300), st.data())
def test_a_stream_that_was_cut_or_goes_on_is_refused(body: bytes, data: st.DataObject) -> None:
    for coding, pack in FORMS.items():
        packed = pack(body)
        cut = data.draw(st.integers(0, len(packed) - 1))
        for broken in (packed[:cut], packed + b"x", packed + packed):
            with pytest.raises(InvalidRequest):
                list(unpacked(broken, coding))


@given(st.binary(max_size=300))
def test_what_is_no_stream_at_all_is_refused_or_read_but_nothing_else(body: bytes) -> None:
    for coding in FORMS:
        with suppress(InvalidRequest):
            list(unpacked(body, coding))


def test_a_bomb_is_unpacked_only_as_far_as_it_is_asked_for() -> None:
    pieces = unpacked(gzip.compress(bytes(50 * SLICE_BYTES)), "gzip")
    assert len(next(pieces)) == SLICE_BYTES
    pieces.close()


@pytest.mark.parametrize("name", [b"zstd", b"br", b"compress", b"gzip, deflate", b"\xff"])
def test_other_codings_are_refused_by_name(name: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="content-encoding") as refusal:
        coding_of(name)
    assert repr(name.decode("latin-1")) in refusal.value.message


@pytest.mark.parametrize(
    "charset", ["rot13", "hex", "punycode", "idna", "unicode_escape", "utf-7", "no such thing"]
)
def test_what_python_calls_a_codec_is_not_always_a_charset(charset: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="charset"):
        codec_of(b"application/json; charset=" + charset.encode())


@pytest.mark.parametrize(
    ("content_type", "codec"),
    [
        (b"application/json", None),
        (b"application/json; charset=UTF-8", None),
        (b'text/json;x=y; Charset="utf-16"', "utf-16"),
        (b"application/json;charset=", None),
        (b"", None),
    ],
)
def test_the_charset_is_found_among_the_parameters(content_type: bytes, codec: str | None) -> None:
    assert codec_of(content_type) == codec


def test_text_becomes_utf8_without_its_mark_or_is_refused() -> None:
    assert as_utf8("\ufeff{“ü”}".encode("utf-16-le"), "utf-16le") == "{“ü”}".encode()
    for body, codec in ((b"\xd8\x00\x00", "utf-16be"), (b"\xff", "gbk")):
        with pytest.raises(InvalidRequest, match="charset"):
            as_utf8(body, codec)
