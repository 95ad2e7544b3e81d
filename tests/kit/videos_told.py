"""What ffprobe says of a video, or where there is none, the ffmpeg that SGLang's extra brings."""

import json
import re
import shutil
import subprocess
from pathlib import Path


def told_by_ffmpeg(video: Path) -> tuple[str, str, int, int, int]:
    """Codec, pixel format, width, height and frames, all of which were decoded."""
    if shutil.which("ffprobe") is None:
        return _by_ffmpeg(video)
    told = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(video)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stderr == ""
    (stream,) = json.loads(told.stdout)["streams"]
    return (
        stream["codec_name"],
        stream["pix_fmt"],
        stream["width"],
        stream["height"],
        int(stream["nb_read_frames"]),
    )


def _by_ffmpeg(video: Path) -> tuple[str, str, int, int, int]:
    import imageio_ffmpeg  # noqa: PLC0415  # not installed everywhere

    said = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(video), "-f", "null", "-"],
        capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    found = re.search(r"Video: (\w+).*?, (yuv\w+).*?, (\d+)x(\d+)", said)
    assert found is not None, said
    codec, pixels, width, height = found.groups()
    return codec, pixels, int(width), int(height), int(re.findall(r"frame=\s*(\d+)", said)[-1])
