"""The requests that attackers send: pictures that are bombs, damaged, many, huge, or elsewhere."""

import base64
import io
import json
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image

from bench.attacks.hostile import Hostile

MODEL: Final = "sees"
MIB: Final = 2**20
_BOMB_PIXELS: Final = 16_000
"""The side of a picture of a few bytes that a decoder would make a gigabyte of."""


@dataclass(frozen=True)
class Attack:
    """An attack: its bodies, which clients send in turn, each as soon as it has its answer.

    Attributes:
        name: in words.
        clients: that do so at once.
    """

    name: str
    bodies: Sequence[bytes]
    clients: int = 8


def attacks(hostile: Hostile) -> list[Attack]:
    """All of them, those over the net with a server of the attacker's."""
    small = small_picture()
    large = [_data(_headed_png(2_000, 2_000, 16_500_000))] * 2
    return [
        Attack(
            "decompression bombs (PNG, WebP, GIF, 300 bytes)", [chat(_data(b)) for b in _bombs()]
        ),
        Attack("a header without an end (16 MB JPEG)", [chat(_data(_endless_jpeg()))]),
        Attack("45 MB bodies of two pictures, 32 at once", [chat(*large)], 32),
        Attack("256 pictures in a request", [chat(*[_data(small)] * 256)]),
        Attack("broken base64, 20 MB", [chat(_data(os.urandom(15 * MIB))[:-9] + "*" * 8)]),
        Attack("damaged pictures of 1 MB", [chat(_data(_headed_png(900, 900, MIB)))]),
        Attack(
            "URLs into the house, at once and by redirects", [chat(url) for url in hostile.inside]
        ),
        Attack(
            "names that change, of a slow name server",
            [chat(hostile.turning(n)) for n in range(64)],
            32,
        ),
        Attack(
            "hosts that drip, 4 URLs a request", [chat(*hostile.dripping(n)) for n in range(64)], 64
        ),
    ]


def chat(*urls: str) -> bytes:
    """A short chat about pictures at these URLs."""
    content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 4}
    return json.dumps(body).encode()


def _data(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def small_picture() -> bytes:
    """A PNG of a few bytes."""
    file = io.BytesIO()
    Image.new("RGB", (28, 28), "red").save(file, "PNG")
    return file.getvalue()


def _headed_png(width: int, height: int, data_bytes: int) -> bytes:
    """A header, and so much behind it that no decoder would take (W3C PNG, section 11)."""
    chunks = (
        b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT" + os.urandom(data_bytes),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


def _endless_jpeg() -> bytes:
    """Marks without end, and no picture behind them (ITU-T T.81, annex B)."""
    return b"\xff\xd8" + b"\xff\xe5\0\2" * (4 * MIB)


def _bombs() -> list[bytes]:
    """Few bytes each, whose headers tell of 256 million pixels and more."""
    side = _BOMB_PIXELS
    gif = b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0)
    gif += b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\2\2\x4c\1\0;"
    # VP8X of the extended format: flags, then width and height less one, three bytes each
    head = bytes(4) + (side - 1).to_bytes(3, "little") * 2
    chunk = b"VP8X" + struct.pack("<I", len(head)) + head + b"VP8 " + struct.pack("<I", 10)
    chunk += b"\x30\1\0\x9d\1\x2a" + struct.pack("<HH", 0x3FFF, 0x3FFF)
    webp = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    return [_headed_png(100_000, 100_000, 200), webp, gif]
