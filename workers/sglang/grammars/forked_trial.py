"""On a CPU host grammars are tried by a fork of the worker, which has imported what that takes, and
not by a program that imports torch for seconds.
"""

import asyncio
import multiprocessing
import os
from multiprocessing.connection import Connection
from typing import Final

TITLE: Final = "workers.sglang.grammars.trial"
"""The program has this name, and the process is listed under it too."""


class ForkedTrial:
    """A ForkedTrial is the program that tries grammars in a process that multiprocessing starts,
    used like a Program.

    Attributes:
        writer: what is written here, the process reads; once connected.
        reader: what the process writes, is read here; once connected.
    """

    writer: asyncio.WriteTransport
    reader: asyncio.StreamReader

    def __init__(self) -> None:
        theirs_in, self._in = multiprocessing.Pipe(duplex=False)
        self._out, theirs_out = multiprocessing.Pipe(duplex=False)
        self._process = multiprocessing.get_context("spawn").Process(
            target=_try_grammars, args=(theirs_in, theirs_out), daemon=True
        )
        self._process.start()
        theirs_in.close()
        theirs_out.close()

    async def connect(self) -> None:
        """Opens this side of the pipes in the running loop."""
        loop, self.reader = asyncio.get_running_loop(), asyncio.StreamReader()
        self.writer, _ = await loop.connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(os.dup(self._in.fileno()), "wb", buffering=0)
        )
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self.reader),
            os.fdopen(os.dup(self._out.fileno()), "rb", buffering=0),
        )
        self._in.close()
        self._out.close()

    @property
    def runs(self) -> bool:
        """Tells whether the process still runs."""
        return self._process.exitcode is None

    def kill(self) -> None:
        """Kills the process."""
        self._process.kill()

    async def end(self) -> None:
        """Kills the process, once connected, and waits until it is gone."""
        if not self.writer.is_closing():  # by itself, where the process ended before
            self.writer.abort()
        self.kill()
        await asyncio.to_thread(self._process.join)


def _try_grammars(reading: "Connection[None, bytes]", writing: "Connection[bytes, None]") -> None:
    from setproctitle import setproctitle  # noqa: PLC0415  # SGLang brings it

    from workers.sglang.grammars import trial  # noqa: PLC0415  # xgrammar, which imports torch

    setproctitle(TITLE)
    os.dup2(reading.fileno(), 0)
    os.dup2(writing.fileno(), 1)
    reading.close()
    writing.close()
    trial.main()
