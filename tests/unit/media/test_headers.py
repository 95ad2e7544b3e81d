"""What the headers of images, videos and sounds say, and what they cannot make a frontend do."""

import contextlib
import io
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from frontend.media import headers
from frontend.media.bounds import MediaBounds
from frontend.media.headers import read_header
from frontend.media.part import MediaSource
from protocol.errors import InvalidRequest
from protocol.media import Modality

PARAM = "messages[0].content[1].image_url.url"


def source(url: str = "", modality: Modality = "image") -> MediaSource:
    return MediaSource(modality, url, PARAM)


def picture(form: str = "PNG", size: tuple[int, int] = (7, 5)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, form)
    return file.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"\0" * 64)
    chunks = (
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (ihdr, idat)
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def gif_whose_frame_is(width: int, height: int) -> bytes:
    screen = struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0;"
    return b"GIF89a" + screen + frame


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_an_image_says_its_size(form: str) -> None:
    header = read_header(picture(form), source(), pixels_max=35)
    assert header == (form.lower(), 7, 5)
    with pytest.raises(InvalidRequest, match="7 x 5 pixels") as caught:
        read_header(picture(form), source(), pixels_max=34)
    assert caught.value.param == PARAM


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_cut_header_is_the_clients_error(form: str) -> None:
    whole = picture(form)
    for length in range(min(len(whole), 60)):
        with contextlib.suppress(InvalidRequest):
            read_header(whole[:length], source(), pixels_max=100)


@pytest.mark.parametrize("form", ["TIFF", "ICO", "PPM", "TGA"])
def test_other_images_are_refused(form: str) -> None:
    with pytest.raises(InvalidRequest, match="not PNG"):
        read_header(picture(form), source(), pixels_max=100)


@pytest.mark.parametrize("make", [png_claiming, gif_whose_frame_is])
def test_a_bomb_costs_no_memory(make: Callable[[int, int], bytes]) -> None:
    side = 100_000 if make is png_claiming else 65_535
    read_header(picture(), source(), pixels_max=100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidRequest, match="pixels"):
        read_header(make(side, side), source(), pixels_max=MediaBounds().pixels_max)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8_192


@pytest.mark.parametrize(
    "endless",
    [
        b"\xff\xd8" + b"\xff\xe5\0\2" * 100_000,
        b"\xff\xd8" + b"\xff" * 100_000,
        b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\1a\0" * 100_000,
        png_claiming(5, 5)[:33]
        + (b"\0\0\0\0tEXt" + zlib.crc32(b"tEXt").to_bytes(4, "big")) * 50_000,
    ],
    ids=["jpeg-marks", "jpeg-fill", "gif-comments", "png-chunks"],
)
def test_a_header_is_not_read_without_end(endless: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0

    class Counted(headers._CountedFile):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal reads
            reads += 1
            return super().read(size)

    monkeypatch.setattr(headers, "_CountedFile", Counted)
    with pytest.raises(InvalidRequest, match="damaged"):
        read_header(endless, source(), pixels_max=100)
    assert 0 < reads <= headers._READS_MAX + 1


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt"])
def test_a_header_inflates_little(kind: bytes) -> None:
    """A thousand profiles of a megabyte each, 1 kB compressed, took 2.7 s."""
    body = kind + b"a\0\0" + zlib.compress(bytes(1_000))
    part = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    start, rest = png_claiming(5, 5)[:33], png_claiming(5, 5)[33:]
    for parts, taken in ((1, True), (32, True), (33, False), (5_000, False)):
        if taken:
            assert read_header(start + part * parts + rest, source(), pixels_max=25).width == 5
        else:
            with pytest.raises(InvalidRequest, match="damaged"):
                read_header(start + part * parts + rest, source(), pixels_max=25)


@pytest.mark.parametrize(
    ("modality", "data", "name"),
    [
        ("video", b"\0\0\0\x20ftypisom", "mp4"),
        ("video", b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "webm"),
        ("video", b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", "mkv"),
        ("audio", b"RIFF\x24\0\0\0WAVEfmt ", "wav"),
        ("audio", b"ID3\x04", "mp3"),
        ("audio", b"\xff\xfb\x90\x44", "mp3"),
        ("audio", b"fLaC\0", "flac"),
        ("audio", b"OggS\0", "ogg"),
        ("video", b"RIFF\x24\0\0\0WAVEfmt ", None),
        ("audio", b"\xff\xd8\xff\xe0", None),
        ("audio", b"", None),
        ("image", b"%PDF-1.7", None),
    ],
)
def test_video_and_audio_go_by_their_first_bytes(
    modality: Modality, data: bytes, name: str | None
) -> None:
    if name is None:
        with pytest.raises(InvalidRequest):
            read_header(data, source("", modality), pixels_max=1)
    else:
        assert read_header(data, source("", modality), pixels_max=1) == (name, 0, 0)


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a"]),
)
def test_whatever_the_bytes_are_they_are_a_picture_or_refused(data: bytes, start: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        header = read_header(start + data, source(), pixels_max=1_000)
        assert 0 < header.width * header.height <= 1_000


def test_pillow_is_imported_with_the_first_image_only() -> None:
    code = "import sys, frontend.media.reader; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_pillow_thinks_of_an_image_is_not_told() -> None:
    """Each text would be remembered, and a client chooses the numbers in it."""
    code = (
        "import sys; from frontend.media.headers import read_header\n"
        "from frontend.media.part import MediaSource\n"
        "print(read_header(sys.stdin.buffer.read(), MediaSource('image', '', ''), "
        "pixels_max=10**9))"
    )
    said = subprocess.run(
        [sys.executable, "-W", "default", "-c", code],
        input=gif_whose_frame_is(10_000, 10_000),
        capture_output=True,
        check=True,
    )
    assert b"10000" in said.stdout
    assert said.stderr == b""
