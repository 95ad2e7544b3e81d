"""The process that decodes is started with the first video or sound, and again if it has ended."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np

from workers.sglang.decoding.bounds import DECODED_PIXELS_MAX, IDLE_S_MAX
from workers.sglang.decoding.messages import Found, Job, read, write

_MODULE: Final = "workers.sglang.decoding.program"


class UnreadableMedium(ValueError):
    """An UnreadableMedium says why a video or sound cannot be decoded.

    Attributes:
        data: what it is read from.
        reason: as a sentence for its client.
    """

    def __init__(self, data: bytes, reason: str) -> None:
        super().__init__(reason)
        self.data = data
        self.reason = reason


class DecodingProcess:
    """A DecodingProcess decodes one video or sound at a time; its methods wait, and are for
    threads.
    """

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._popen: subprocess.Popen[bytes] | None = None
        self._used_at = 0.0
        self._closed = False

    def look(self, data: bytes) -> Found:
        """Returns what a video is.

        Raises:
            UnreadableMedium: it cannot be decoded.
        """
        with self._one_at_a_time:
            return self._answer(Job(data))

    def frames(self, data: bytes, wanted: Sequence[int], found: Found) -> Any:
        """Returns the frames with these numbers as an array, shape [frames, height, width, 3], u8.

        Args:
            found: what `look` said.
        Raises:
            UnreadableMedium: they cannot be decoded, or are too many.
        """
        if len(wanted) * found.pixels > DECODED_PIXELS_MAX:
            raise UnreadableMedium(
                data,
                f"The video is too large: {len(wanted)} frames of {found.width} x {found.height} "
                f"pixels; they have at most {DECODED_PIXELS_MAX} together.",
            )
        order = sorted({int(each) for each in wanted})
        with self._one_at_a_time:
            again = self._answer(Job(data, order))
            shape = (len(order), again.height, again.width, 3)
            made = self._array(data, np.empty(shape, np.uint8))
        if [*wanted] == order:
            return made
        return made[np.searchsorted(order, wanted)]

    def sound(self, data: bytes, rate: int) -> Any:
        """Returns a sound as one channel with `rate` samples a second, shape [samples], f32.

        Raises:
            UnreadableMedium: it cannot be decoded.
        """
        with self._one_at_a_time:
            found = self._answer(Job(data, sound_rate=rate))
            return self._array(data, np.empty(found.samples, np.float32))

    def close(self) -> None:
        """Kills the process for good, whatever it does; who waits for it is told."""
        self._closed = True
        if self._popen is not None:
            self._popen.kill()

    def _array(self, data: bytes, made: Any) -> Any:
        """Returns the array, filled with what follows the answer."""
        assert self._popen is not None
        pipe: Any = self._popen.stdout
        if made.size and pipe.readinto(memoryview(made).cast("B")) < made.nbytes:
            raise self._ended(Job(data))
        return made

    def _answer(self, job: Job) -> Found:
        popen = self._running()
        assert popen.stdin is not None
        assert popen.stdout is not None
        try:
            write(popen.stdin, job)  # type: ignore[arg-type]
            found = read(popen.stdout, Found)  # type: ignore[arg-type]
        except (EOFError, OSError):
            raise self._ended(job) from None
        self._used_at = time.monotonic()
        if found.refused is not None:
            raise UnreadableMedium(job.data, f"{_called(job)} cannot be decoded: {found.refused}")
        return found

    def _running(self) -> "subprocess.Popen[bytes]":
        # one that is about to end by itself would look like one that the video has ended
        if time.monotonic() - self._used_at > IDLE_S_MAX / 2:
            self._kill()
        if self._closed:
            raise RuntimeError("the worker stops")
        if self._popen is None or self._popen.poll() is not None:
            self._kill()  # and its pipes
            path = os.pathsep.join(filter(None, sys.path)) or os.curdir
            self._popen = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # a library's words on what clients sent
                env=os.environ | {"PYTHONPATH": path},
            )
        return self._popen

    def _ended(self, job: Job) -> UnreadableMedium:
        """Returns the error for what the process has ended on."""
        assert self._popen is not None
        self._popen.kill()
        late = self._popen.wait() == -signal.SIGALRM
        reason = "it takes too long" if late else "it is damaged or too large"
        return UnreadableMedium(job.data, f"{_called(job)} cannot be decoded: {reason}.")

    def _kill(self) -> None:
        popen, self._popen = self._popen, None
        if popen is not None:
            popen.kill()
            popen.wait()
            for pipe in (popen.stdin, popen.stdout):
                assert pipe is not None
                with suppress(OSError):  # it has not read all that it was told
                    pipe.close()


def _called(job: Job) -> str:
    return "The audio" if job.sound_rate else "The video"
