"""What a medium's first bytes say, and what they cannot make a frontend do."""

import io
import struct
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from frontend.media.first_bytes import format_of, picture_of
from protocol.errors import InvalidRequest

PIXELS_MAX = 64_000_000


def drawn(form: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, form)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(head))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
    )


BOMBS = {
    "png": png_header(100_000, 100_000),
    "gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + drawn("gif")[10:],
    "bmp": b"BM"
    + struct.pack("<IHHI", 1_000, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "gif", "bmp"])
def test_a_picture_is_known_by_its_header(form: str) -> None:
    assert picture_of(drawn(form), PIXELS_MAX, "p") == (form, 30, 20)


@pytest.mark.parametrize("form", BOMBS)
def test_a_bomb_is_refused_from_its_header_without_memory(form: str) -> None:
    picture_of(drawn(form), PIXELS_MAX, "p")  # the import is not under test
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="pixels") as raised:
            picture_of(BOMBS[form], PIXELS_MAX, "p")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert raised.value.param == "p"


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"]),
)
def test_whatever_the_bytes_are_they_are_a_picture_or_refused(data: bytes, start: bytes) -> None:
    with suppress(InvalidRequest):
        form, width, height = picture_of(start + data, PIXELS_MAX, "p")
        assert form
        assert 0 < width * height <= PIXELS_MAX


def test_other_formats_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="none of these formats"):
        picture_of(drawn("tiff"), PIXELS_MAX, "p")


def test_videos_and_sounds_are_known_by_their_signatures() -> None:
    assert format_of("video", b"\0\0\0 ftypisom", "p") == "mp4"
    assert format_of("audio", b"RIFF\0\0\0\0WAVEfmt ", "p") == "wav"
    with pytest.raises(InvalidRequest, match="mp4, webm, avi"):
        format_of("video", b"hello", "p")
