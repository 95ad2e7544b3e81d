"""Outputs are written to files: pictures by Pillow; videos are SGLang's own, H.264 in MP4."""

import zlib
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from PIL import Image

from protocol.diffusion import OutputFormat
from workers.sglang.diffusion.messages import File

_PNG: Final[dict[str, int]] = {"compress_level": 4, "compress_type": zlib.Z_RLE}
"""A megapixel of what looks like a photograph takes 88 ms so; looking for repetitions further back
than in a run takes 240 ms, and makes it no smaller.
"""


def picture_file(
    frame: Any, path: Path, format_: OutputFormat, compression: int, seed: int = 0
) -> File:
    """Writes a picture, as `write_picture`, and describes it."""
    write_picture(frame, path, format_, compression)
    height, width = frame.shape[:2]
    return File(path.name, format_, width, height, 1, 0.0, seed)


def write_picture(frame: Any, path: Path, format_: OutputFormat, compression: int) -> None:
    """Writes a picture.

    Args:
        frame: shape [height, width, channels], u8.
        compression: the quality of JPEG and WebP, in per cent.
    """
    picture = Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)
    if format_ == "png":
        picture.save(path, "PNG", **_PNG)
        return
    if format_ == "jpeg" and picture.mode == "RGBA":
        opaque = Image.new("RGB", picture.size, "white")
        opaque.paste(picture, mask=picture.getchannel("A"))
        picture = opaque
    picture.save(path, "JPEG" if format_ == "jpeg" else "WEBP", quality=compression)


def video_file(path: Path, seed: int) -> File:
    """Describes a video by what its file says of itself."""
    imageio_ffmpeg: Any = import_module("imageio_ffmpeg")  # SGLang's extra brings it
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
    reader: Any = imageio_ffmpeg.read_frames(str(path))
    try:
        said: Any = next(reader)
    finally:
        reader.close()
    width, height = said["source_size"]
    return File(path.name, "mp4", int(width), int(height), int(frames), float(said["fps"]), seed)
