"""A child process of `kvmesh up`: its output kept or shown, its end noticed, nothing of it left behind."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Sequence

EXIT_CANNOT_START = 3
"""What frontend and workers exit with when starting again would not help."""

LINES_KEPT = 200
"""Output lines remembered for the moment a child dies."""

LINE_BYTES_MAX = 1 << 20
"""A longer line without a newline is cut; asyncio would otherwise raise."""

_PR_SET_PDEATHSIG = 1


class Child:
    """One `python -m …` in a session of its own, so that a Ctrl-C at the terminal reaches only us."""

    def __init__(self, name: str, arguments: Sequence[str], *, verbose: bool) -> None:
        self.name = name
        self._arguments = arguments
        self._verbose = verbose
        self._process: asyncio.subprocess.Process | None = None
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)

    async def start(self) -> None:
        """Start the process (again)."""
        self._lines.clear()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
            limit=LINE_BYTES_MAX,
        )

    async def wait(self) -> int:
        """Read the output until the process ends; returns its exit code."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue  # a line above LINE_BYTES_MAX was dropped
            if not line:
                break
            text = line.decode(errors="replace").rstrip()
            self._lines.append(text)
            if self._verbose:
                print(f"[{self.name}] {text}", flush=True)
        return await process.wait()

    def last_words(self, lines: int = 15) -> str:
        """The end of its output."""
        return "\n".join(f"  [{self.name}] {line}" for line in list(self._lines)[-lines:])

    async def stop(self, wait_s_max: float) -> None:
        """SIGTERM, wait, and kill whatever is left of its session."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s_max):
                    await self.wait()
        self.kill()
        await process.wait()

    def kill(self) -> None:
        """Kill its whole session now; engines run their schedulers in it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _die_with_parent() -> None:
    """Between fork and exec: have the kernel send SIGTERM when `kvmesh up` itself is killed (man 2 prctl)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
