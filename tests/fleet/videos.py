"""Videos as tests send them, kept as files; run as a program it makes the files.

    pip install av==18.1.0 && python -m tests.fleet.videos

PyAV, which brings an encoder, is needed for nothing else.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).with_name("video_files")
_MADE: Final[dict[str, dict[str, Any]]] = {
    # two seconds each, of which SGLang takes four frames
    "red.mp4": {"colour": (220, 20, 20), "frames": 8, "size": (84, 56)},
    "blue.mp4": {"colour": (20, 20, 220), "frames": 8, "size": (56, 112)},
    "green.webm": {"colour": (20, 220, 20), "frames": 8, "size": (84, 56), "codec": "libvpx-vp9"},
    # 2.5 GB once its frames are decoded
    "bomb.mp4": {"colour": (0, 0, 0), "frames": 160, "size": (2_560, 2_048), "fps": 1, "side": 0},
    # more tokens than there is room for
    "long.mp4": {"colour": (20, 20, 20), "frames": 160, "size": (84, 56), "fps": 2},
    "still.mp4": {"colour": (20, 20, 20), "frames": 1, "size": (84, 56)},
}


def video(name: str) -> bytes:
    """One of the files."""
    return (FOLDER / name).read_bytes()


def make(
    path: Path,
    colour: tuple[int, int, int],
    frames: int,
    size: tuple[int, int],
    codec: str = "libx264",
    fps: int = 4,
    side: int = 24,
) -> None:
    """Write a video of one colour through which a white square goes, if it has sides."""
    av: Any = import_module("av")
    numpy: Any = import_module("numpy")
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"crf": "30"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            pixels = numpy.zeros((height, width, 3), numpy.uint8)
            pixels[:] = colour
            left = 4 * number % (width - side)
            pixels[10 : 10 + side, left : left + side] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, made in _MADE.items():
        make(FOLDER / name, **made)
