"""Runs a child process of `kvmesh up`: its output kept or shown, its end noticed, nothing of it
left behind.
"""

import asyncio
import contextlib
import functools
import os
import signal
import sys
from collections import deque
from collections.abc import Sequence

from protocol.process.parent_death import end_with_parent

LINES_KEPT = 200
"""Bounds the output lines remembered for the moment a child dies."""

LINE_BYTES_MAX = 1 << 16
"""Bounds a line, of which the end is kept if it is longer; LINES_KEPT of them are 13 MB."""

DRAIN_S_MAX = 1.0
"""Bounds how long output is read on after everything that could write has been killed; what is in a
pipe is read in milliseconds, but a process that left the session may hold it open for ever.
"""


class Child:
    """A Child is one `python …` in a session of its own, so that a Ctrl-C at the terminal reaches
    only us.
    """

    def __init__(self, name: str, arguments: Sequence[str], *, verbose: bool) -> None:
        self.name = name
        self._arguments = arguments
        self._verbose = verbose
        self._process: asyncio.subprocess.Process | None = None
        """Is the running process; None before the start and as soon as it ended: another process
        may get its pid then.
        """
        self._reading: asyncio.Task[None] | None = None
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)

    @property
    def runs(self) -> bool:
        """Tells whether the process was started and has not ended."""
        return self._process is not None

    async def start(self, more: Sequence[str] = ()) -> None:
        """Starts the process (again), with `more` arguments this time."""
        self._lines.clear()
        # A pipe of our own: with asyncio's, Process.wait() on Python 3.11 waits for whoever holds
        # the pipe, not for the process.
        read_end, write_end = os.pipe()
        reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
        )
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._arguments,
                *more,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=functools.partial(_die_with_parent, os.getpid()),
            )
        except BaseException:
            pipe.close()
            raise
        finally:
            os.close(write_end)
        self._reading = asyncio.create_task(self._read(reader, pipe))

    async def wait(self) -> int:
        """Waits until the process ends, then ends what it started; returns its exit code."""
        process, reading = self._process, self._reading
        assert process is not None
        assert reading is not None
        code = await process.wait()
        self.kill()
        self._process = None
        try:
            await asyncio.wait([reading], timeout=DRAIN_S_MAX)
        finally:
            reading.cancel()
        return code

    def last_words(self, lines: int = 15) -> str:
        """Returns the last lines of the child's output."""
        return "\n".join(f"  [{self.name}] {line}" for line in list(self._lines)[-lines:])

    def why_it_cannot_start(self) -> str:
        """Returns, in one line, what a process says at last that exits with EXIT_CANNOT_START, or
        argparse's error. Libraries may say more on the way out.
        """
        lines = list(self._lines)
        for index in reversed(range(len(lines))):
            if "cannot start" in lines[index]:
                return lines[index]
            if ": error: " in lines[index]:
                return " ".join(" ".join(lines[index:]).split())
        return lines[-1] if lines else self.name

    async def stop(self, wait_s_max: float) -> None:
        """Sends SIGTERM, waits, and kills whatever is left of its session."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s_max):
                await process.wait()
        self.kill()
        await self.wait()

    def kill(self) -> None:
        """Kills the child's whole session now; engines run their schedulers in it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _read(self, reader: asyncio.StreamReader, pipe: asyncio.ReadTransport) -> None:
        try:
            while True:
                try:
                    line = await reader.readline()
                except ValueError:
                    continue  # asyncio has thrown the beginning of a long line away
                if not line:
                    return
                text = line.decode(errors="replace").rstrip()
                self._lines.append(text)
                if self._verbose:
                    print(f"[{self.name}] {text}", flush=True)
        finally:
            pipe.close()


def _die_with_parent(parent: int) -> None:
    """Ends the child when `kvmesh up` itself is killed; runs between fork and exec."""
    if not end_with_parent(parent, signal.SIGTERM):
        os._exit(1)
