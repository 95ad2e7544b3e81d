"""Videos and sounds are decoded by this program, which a file made for it may crash, stop or blow
up.

In, on stdin: `Job`s. Out, on stdout: a `Found` for each, and frames or samples. It ends with its
stdin, or by SIGALRM when a job takes too long or none has come for long. It imports what SGLang
would decode with, torchcodec where that works, else decord and soundfile, and nothing else of it.

decord2 3.4.0 crashes on one in some hundred videos in which a few bytes were changed.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, BinaryIO, Final

from workers.sglang.decoding.bounds import (
    FRAME_PIXELS_MAX,
    IDLE_S_MAX,
    MEMORY_BYTES_MAX,
    WALL_S_MAX,
)
from workers.sglang.decoding.messages import Found, Job, Refused, read, write
from workers.sglang.decoding.sounds import sound_reader

_BATCH_BYTES: Final = 64 * 1024 * 1024
"""So many bytes of frames are decoded before they are written."""


class _Torchcodec:
    """A _Torchcodec reads a video with torchcodec."""

    def __init__(self, data: bytes) -> None:
        torchcodec: Any = import_module("torchcodec.decoders")
        self._video: Any = torchcodec.VideoDecoder(data, dimension_order="NHWC")
        self.frames = len(self._video)
        self.fps = float(self._video.metadata.average_fps or 0)

    def batch(self, frames: Sequence[int]) -> Any:
        return self._video.get_frames_at(list(frames)).data.numpy()


class _Decord:
    """A _Decord reads a video with decord, which takes a file: one in memory."""

    def __init__(self, data: bytes) -> None:
        decord: Any = import_module("decord")
        self._file = os.memfd_create("video")
        with open(self._file, "wb", closefd=False) as file:
            file.write(data)
        self._video: Any = decord.VideoReader(f"/proc/self/fd/{self._file}", ctx=decord.cpu(0))
        self.frames = len(self._video)
        self.fps = float(self._video.get_avg_fps())

    def batch(self, frames: Sequence[int]) -> Any:
        return self._video.get_batch(list(frames)).asnumpy()

    def __del__(self) -> None:
        os.close(self._file)


def _reader() -> Callable[[bytes], Any]:
    """Returns what SGLang would read videos with (srt/utils/video_decoder.py)."""
    try:
        import_module("torchcodec.decoders")
    except (ImportError, RuntimeError):
        return _Decord
    return _Torchcodec


def serve_sound(job: Job, out: BinaryIO) -> None:
    """Writes the samples of a sound, or why there are none."""
    try:
        samples = sound_reader()(job.data, job.sound_rate)
    except Exception as error:  # noqa: BLE001  # whatever a library raises of what it cannot read
        write(out, Found(refused=_reason(error)))
        return
    write(out, Found(samples=len(samples)))
    out.write(samples.astype("float32", copy=False).tobytes())
    out.flush()


def serve_video(job: Job, reader: Callable[[bytes], Any], out: BinaryIO) -> None:
    """Writes what a video is, and the frames that are asked for, or why there are none."""
    begun = False
    try:
        video = reader(job.data)
        if video.frames < 1 or not 0 < video.fps < 1e6:
            raise Refused("it has no frames, or no rate of them.")
        _, height, width, _ = video.batch([0]).shape
        if height * width > FRAME_PIXELS_MAX:
            raise Refused(f"a frame may have at most {FRAME_PIXELS_MAX} pixels.")
        step = max(1, _BATCH_BYTES // (height * width * 3))
        for start in range(0, len(job.frames) or 1, step):
            wanted = job.frames[start : start + step]
            made = video.batch(wanted) if wanted else None
            if not begun:
                write(out, Found(video.frames, video.fps, height, width))
                begun = True
            if made is not None:
                if made.shape != (len(wanted), height, width, 3):
                    raise ValueError("its frames are not all of one size")
                out.write(made.tobytes())
        out.flush()
    # Whatever a library raises of bytes that it does not understand; of half an answer only the
    # end of this process can tell.
    except Exception as error:  # noqa: BLE001
        if begun:
            os._exit(1)
        write(out, Found(refused=_reason(error)))


def _reason(error: Exception) -> str:
    """Returns ours; a library's words tell of its files and lines."""
    return str(error) if isinstance(error, Refused) else "it is damaged."


def main() -> None:
    """Serves until stdin ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # what is allocated, and not the libraries that are mapped
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    jobs, out = sys.stdin.buffer, sys.stdout.buffer
    while True:
        signal.alarm(IDLE_S_MAX)
        try:
            job = read(jobs, Job)
        except EOFError:
            return
        signal.alarm(WALL_S_MAX)
        if job.sound_rate:
            serve_sound(job, out)
        else:
            serve_video(job, _reader(), out)


if __name__ == "__main__":
    main()
