"""A video file is made of JPEG frames without a library: one track, one chunk (ISO/IEC 14496-12 and
-14; the codec is Motion JPEG, ISO/IEC 14496-1 table 5, object type 0x6C).
"""

import struct
from collections.abc import Sequence
from typing import Final

_UNITS_PER_FRAME: Final = 512
"""Is the length of a frame in the units of the file's clock."""

_MOTION_JPEG: Final = 0x6C
_VISUAL_STREAM: Final = 0x11  # stream type 4, not upstream, reserved bit set
_MATRIX: Final = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def mp4(frames: Sequence[bytes], width: int, height: int, fps: int) -> bytes:
    """Returns a video file whose frames are JPEG pictures of one size."""
    head = _box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isomiso2mp41")
    data = _box(b"mdat", *frames)
    first_at = len(head) + 8  # behind the header of mdat, which comes second
    return head + data + _movie(frames, width, height, fps, first_at)


def _movie(frames: Sequence[bytes], width: int, height: int, fps: int, first_at: int) -> bytes:
    scale, duration = fps * _UNITS_PER_FRAME, len(frames) * _UNITS_PER_FRAME
    return _box(
        b"moov",
        _full(
            b"mvhd",
            0,
            struct.pack(">4I2IQ", 0, 0, scale, duration, 0x10000, 0x01000000, 0),
            _MATRIX,
            bytes(24),
            struct.pack(">I", 2),  # the number of the next track
        ),
        _box(
            b"trak",
            _full(
                b"tkhd",
                3,  # enabled, and in the movie
                struct.pack(">5I", 0, 0, 1, 0, duration),
                bytes(16),
                _MATRIX,
                struct.pack(">2I", width << 16, height << 16),
            ),
            _box(
                b"mdia",
                _full(b"mdhd", 0, struct.pack(">4I2H", 0, 0, scale, duration, 0x55C4, 0)),
                _full(b"hdlr", 0, bytes(4), b"vide", bytes(12), b"frames\0"),
                _box(
                    b"minf",
                    _full(b"vmhd", 1, bytes(8)),
                    _box(b"dinf", _full(b"dref", 0, struct.pack(">I", 1), _full(b"url ", 1))),
                    _table(frames, width, height, first_at),
                ),
            ),
        ),
    )


def _table(frames: Sequence[bytes], width: int, height: int, first_at: int) -> bytes:
    count, sizes = len(frames), [len(frame) for frame in frames]
    return _box(
        b"stbl",
        _full(b"stsd", 0, struct.pack(">I", 1), _sample_entry(width, height, max(sizes))),
        _full(b"stts", 0, struct.pack(">3I", 1, count, _UNITS_PER_FRAME)),
        _full(b"stsc", 0, struct.pack(">4I", 1, 1, count, 1)),
        _full(b"stsz", 0, struct.pack(f">2I{count}I", 0, count, *sizes)),
        _full(b"stco", 0, struct.pack(">2I", 1, first_at)),
    )


def _sample_entry(width: int, height: int, frame_bytes_max: int) -> bytes:
    return _box(
        b"mp4v",
        bytes(6),
        struct.pack(">H", 1),  # the data is in this file
        bytes(16),
        struct.pack(">2H2I", width, height, 0x480000, 0x480000),
        bytes(4),
        struct.pack(">H", 1),  # frames a sample
        bytes(32),
        struct.pack(">Hh", 24, -1),
        _full(
            b"esds",
            0,
            _descriptor(
                3,
                struct.pack(">HB", 1, 0),
                _descriptor(
                    4,
                    struct.pack(">2B", _MOTION_JPEG, _VISUAL_STREAM),
                    frame_bytes_max.to_bytes(3, "big"),
                    bytes(8),
                ),
                _descriptor(6, b"\x02"),
            ),
        ),
    )


def _box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + name + content


def _full(name: bytes, flags: int, *parts: bytes) -> bytes:
    return _box(name, struct.pack(">I", flags), *parts)


def _descriptor(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">2B", tag, len(content)) + content
