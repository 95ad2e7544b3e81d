"""SGLang reads videos and sounds through a process of ours, and away from the worker's loop.

SGLang decodes them within the worker, frames even on its loop: heartbeats stop meanwhile, and a
file that crashes the decoder ends the worker with all that it runs.
"""

import asyncio
import importlib.util
import sys
import threading
from collections.abc import Coroutine
from importlib import import_module
from typing import Any, Final

from sglang.srt.utils import common
from sglang.srt.utils.common import is_cpu
from sglang.srt.utils.video_decoder import VideoDecoderWrapper

from workers.sglang.decoding.messages import Found
from workers.sglang.decoding.process import DecodingProcess

_TORCHCODEC: Final = "torchcodec.decoders"
"""SGLang has imported this where it works: it needs FFmpeg's libraries."""

_SOUND_RATE: Final = 16_000
"""Is SGLang's own, where a processor says none."""

PROCESS: Final = DecodingProcess()
"""Decodes for this worker. It starts with the first video or sound."""


class ApartVideo(VideoDecoderWrapper):
    """An ApartVideo is a video that another process decodes, where SGLang would do it here.

    Args:
        source: the bytes of a file, or its path.
        device: is not looked at: an accelerator's decoder would run in this process.
        num_decode_threads: is not looked at either.
    """

    def __init__(self, source: Any, device: str = "cpu", num_decode_threads: int = 0) -> None:
        del device, num_decode_threads
        self._source_bytes: Any = source if isinstance(source, bytes) else None
        self._source_path = None if isinstance(source, bytes) else source
        self._decoder = self._source = self._tmp_path = None
        self._found: Found | None = None

    @property
    def found(self) -> Found:
        """Returns what the video is, once it has been looked at."""
        if self._found is None:
            self._found = PROCESS.look(self._data)
        return self._found

    @property
    def _data(self) -> bytes:
        data = self.source_bytes
        if data is None:
            raise ValueError("the video is closed")
        return data

    def __len__(self) -> int:
        return self.found.frames

    def __getitem__(self, idx: int) -> Any:
        return self.get_frames_at([idx if idx >= 0 else len(self) + idx])[0]

    @property
    def avg_fps(self) -> float:
        """Returns how many frames there are in a second."""
        return self.found.fps

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Returns height and width of a frame."""
        return self.found.height, self.found.width

    def get_frames_at(self, indices: Any) -> Any:
        """Returns frames, shape [frames, height, width, 3], u8."""
        return PROCESS.frames(self._data, [*indices], self.found)

    def get_frames_as_tensor(self, indices: Any) -> Any:
        """Returns the same as a tensor, pinned where there is an accelerator."""
        torch: Any = import_module("torch")  # it is there already
        frames = torch.from_numpy(self.get_frames_at(indices))
        return frames if is_cpu() else frames.pin_memory()


def load_audio(audio_file: Any, sr: int | None = None, mono: bool = True) -> Any:
    """Returns a sound as SGLang's function of this name does, from the bytes of a file.

    Raises:
        UnreadableMedium: it cannot be decoded.
    """
    if not isinstance(audio_file, bytes) or not mono:
        raise ValueError("only sounds of requests are read, as one channel")
    return PROCESS.sound(audio_file, sr or _SOUND_RATE)


def read_media_apart() -> None:
    """Has SGLang read videos and sounds so, in all modules that it has and those to come."""
    ours = {"VideoDecoderWrapper": ApartVideo, "load_audio": load_audio}
    theirs = {name: getattr(common, name) for name in ours}
    for module in [each for name, each in sys.modules.items() if name.startswith("sglang.")]:
        for name, replacement in ours.items():
            if vars(module).get(name) is theirs[name]:
                setattr(module, name, replacement)


def reads_videos() -> bool:
    """Tells whether there is anything to decode videos with."""
    return _TORCHCODEC in sys.modules or _is_there("decord")


def reads_sounds() -> bool:
    """Tells whether there is anything to decode sounds with (`load_audio` of SGLang)."""
    return _TORCHCODEC in sys.modules or _is_there("soundfile")


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


class MediaLoop:
    """A MediaLoop runs what SGLang's processor does with videos and sounds on a loop in a thread of
    its own, one at a time between the places where it waits.

    The thread begins with the first of them.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def serve(self, processor: Any) -> None:
        """Has requests with videos or sounds processed here, of a `BaseMultimodalProcessor`."""
        process = processor.process_mm_data_async

        async def process_apart(*arguments: Any, request_obj: Any, **named: Any) -> Any:
            processing = process(*arguments, request_obj=request_obj, **named)
            if not (request_obj.video_data or request_obj.audio_data):
                return await processing
            return await self._run(processing)

        processor.process_mm_data_async = process_apart

    def close(self) -> None:
        """Kills the process that decodes, and ends the thread once it waits."""
        PROCESS.close()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)

    async def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="media", daemon=True).start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
