"""The process that validates: started beside the loop, asked over a socket, ended for good."""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Self

import msgspec

from frontend.conforming.messages import Question, Verdict

_encode = msgspec.json.Encoder().encode


class ValidatorProcess:
    """A process of frontend/conforming/program.py, asked one question at a time."""

    def __init__(
        self,
        popen: "subprocess.Popen[bytes]",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.popen = popen
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls) -> Self:
        """Start a process that says a Verdict when it is ready.

        It is started by a thread and Python's own subprocess, which shares the frontend's memory
        with the child until that runs its program. uvloop forks on its loop, which stands while
        300 MB are mapped anew and the child gets its turn: 50 ms, and 400 ms on a busy host.

        Raises:
            OSError: there is no process or no socket to be had.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            starting = asyncio.ensure_future(asyncio.to_thread(_popen, theirs))
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

    async def ask(self, question: Question) -> Verdict:
        """What it says of one answer.

        Raises:
            OSError, EOFError: it has ended.
        """
        self._writer.write(_encode(question) + b"\n")
        await self._writer.drain()
        return await self.heard()

    async def heard(self) -> Verdict:
        """What it says next.

        Raises:
            OSError, EOFError: it has ended.
        """
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError("it said nothing")
        return msgspec.json.decode(line, type=Verdict)

    async def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self._writer.transport.abort()
        self.popen.kill()
        await asyncio.to_thread(self.popen.wait)


def _popen(theirs: socket.socket) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "frontend.conforming.program"],
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
        env=os.environ | {"PYTHONPATH": _path()},
    )


def _path() -> str:
    """Where this process finds its modules."""
    return os.pathsep.join(filter(None, sys.path)) or os.curdir
