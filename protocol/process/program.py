"""Programs of our own that a process starts beside itself and talks to."""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Self


class Program:
    """A Program is a module of ours that runs as a process of its own, whose stdin and stdout are
    one socket to this process; its stderr is ours.

    Attributes:
        reader: what it says.
        writer: what it is told.
    """

    def __init__(
        self,
        popen: "subprocess.Popen[bytes]",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._popen = popen

    @classmethod
    async def start(cls, module: str) -> Self:
        """Starts a module, run by this interpreter with the modules that this process has.

        It is started by a thread and Python's own subprocess, which shares this process's memory
        with the child until that runs its program. uvloop forks on its loop, which stands while
        300 MB are mapped anew and the child gets its turn: 50 ms, and 400 ms on a busy host.

        Raises:
            OSError: there is no process or no socket to be had.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            starting = asyncio.ensure_future(asyncio.to_thread(_popen, module, theirs))
            try:
                popen = await asyncio.shield(starting)
            except asyncio.CancelledError:  # who asked left; a thread cannot be told
                with suppress(OSError):
                    await cls(await starting, reader, writer).end()
                writer.transport.abort()
                raise
            except OSError:
                writer.transport.abort()
                raise
        return cls(popen, reader, writer)

    @property
    def pid(self) -> int:
        """Returns the process's id."""
        return self._popen.pid

    @property
    def runs(self) -> bool:
        """Tells whether it has not ended."""
        return self._popen.poll() is None

    def kill(self) -> None:
        """Kills it, if it has not ended; it says no more."""
        self.writer.transport.abort()
        self._popen.kill()

    async def gone(self) -> None:
        """Waits until it has ended."""
        await asyncio.to_thread(self._popen.wait)

    async def end(self) -> None:
        """Kills it, and waits until it is gone."""
        self.kill()
        await self.gone()


def _popen(module: str, theirs: socket.socket) -> "subprocess.Popen[bytes]":
    path = os.pathsep.join(filter(None, sys.path)) or os.curdir
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
        env=os.environ | {"PYTHONPATH": path},
    )
