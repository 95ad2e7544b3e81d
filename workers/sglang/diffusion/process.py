"""The process that has SGLang's DiffGenerator, as the worker sees it."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from msgspec import DecodeError, Struct

from protocol.process.frames import LENGTH, framed
from protocol.process.own_directory import process_directory
from workers.process.watch import ProcessWatch, in_words
from workers.sglang.diffusion.mark import Mark
from workers.sglang.diffusion.messages import (
    DIRECTORY,
    MARK_FILE,
    STEPS_SOCKET,
    Ended,
    Reply,
    Setup,
    Stepped,
    decode_reply,
    decode_step,
)

log = logging.getLogger(__name__)

_MODULE: Final = "workers.sglang.diffusion.program"
_STEP_BYTES_MAX: Final = 4_096
"""A step is a few numbers and a file's name."""
_LINE_BYTES_MAX: Final = 16 * 1024
"""Of a longer line that SGLang prints, the log has nothing: tracebacks have shorter ones."""

OnReply = Callable[[Reply], None]
OnStepped = Callable[[Stepped], None]


class GeneratorProcess:
    """A GeneratorProcess is told orders and tells what becomes of them, until it ends, by itself or
    by `kill`.

    Attributes:
        mark: says which orders are to be left.
        ended: has the reason once it has ended, with all that it started.
    """

    def __init__(
        self,
        directory: Path,
        mark: Mark,
        writer: asyncio.StreamWriter,
        on_reply: OnReply,
        on_stepped: OnStepped,
    ) -> None:
        self.mark = mark
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._directory = directory
        self._on_reply = on_reply
        self._on_stepped = on_stepped
        self._popen: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._writer = writer
        self._task: asyncio.Task[None] | None = None
        self._steps = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._steps.bind(str(directory / STEPS_SOCKET))

    @classmethod
    async def start(cls, setup: Setup, *, on_reply: OnReply, on_stepped: OnStepped) -> Self:
        """Starts a process; what becomes of that is told to `on_reply`."""
        directory, mark = await asyncio.to_thread(_directory_in, process_directory())
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            process = cls(directory, mark, writer, on_reply, on_stepped)
            starting = asyncio.ensure_future(asyncio.to_thread(_popen, theirs, directory))
            process._listen(starting, reader)
            try:
                await asyncio.wait([starting])
            except asyncio.CancelledError:
                process.kill()
                raise
        process.tell(setup)
        return process

    @property
    def runs(self) -> bool:
        """Tells whether it has not ended, as far as anybody can know."""
        return not self._killed and self._popen is not None and self._popen.poll() is None

    def tell(self, message: Struct) -> None:
        """Sends it a message; one that has ended hears nothing."""
        self._writer.write(framed(message))

    def kill(self) -> None:
        """Kills it and all that it started."""
        self._killed = True
        if self._popen is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)

    def _listen(
        self, starting: "asyncio.Future[subprocess.Popen[bytes]]", reader: asyncio.StreamReader
    ) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(starting, reader))

    async def _run(
        self, starting: "asyncio.Future[subprocess.Popen[bytes]]", reader: asyncio.StreamReader
    ) -> None:
        loop, reason = asyncio.get_running_loop(), ""
        logged: asyncio.Task[None] | None = None
        watch = ProcessWatch(lambda _name, _code: self.kill())
        loop.add_reader(self._steps, self._take_steps)
        try:
            self._popen = await starting
            # what it started holds its socket open, and goes with it
            watch.add({self._popen.pid: ""})
            if self._killed:
                self.kill()
            logged = loop.create_task(_log_lines(self._popen))
            reason = await self._read(reader)
            code = await asyncio.to_thread(self._popen.wait)
            reason = reason or f"SGLang's generator {in_words(code)}"
        except OSError as error:
            reason = f"no process for SGLang's generator can be started: {error.strerror}"
        finally:
            watch.close()
            loop.remove_reader(self._steps)
            self._steps.close()
            self.kill()  # what it started
            if logged is not None:
                await logged
            self._writer.transport.abort()
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
            self.ended.set_result(reason)

    async def _read(self, reader: asyncio.StreamReader) -> str:
        """Hands on what the process says; returns why it ends, if it says so."""
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                reply = decode_reply(await reader.readexactly(length))
                self._take_steps()  # those that were made before
                self._on_reply(reply)
                if isinstance(reply, Ended):
                    return reply.reason
        return ""

    def _take_steps(self) -> None:
        with suppress(BlockingIOError):
            while True:
                told = self._steps.recv(_STEP_BYTES_MAX)
                with suppress(DecodeError):
                    self._on_stepped(decode_step(told))


def _directory_in(parent: Path) -> tuple[Path, Mark]:
    """Returns a new directory for the generator's processes, and the mark in it."""
    directory = Path(tempfile.mkdtemp(dir=parent, prefix="diffusion-"))
    return directory, Mark.new(directory / MARK_FILE)


def _popen(theirs: socket.socket, directory: Path) -> "subprocess.Popen[bytes]":
    path = os.pathsep.join(filter(None, sys.path)) or os.curdir
    told = {"PYTHONPATH": path, DIRECTORY: str(directory), "TMPDIR": str(directory)}
    return subprocess.Popen(
        [sys.executable, "-m", _MODULE],
        stdin=theirs.fileno(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | told,
        start_new_session=True,  # it and its ranks are killed together
    )


async def _log_lines(popen: "subprocess.Popen[bytes]") -> None:
    """Logs what the process and its ranks print, until all have ended."""
    assert popen.stdout is not None
    reader = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), popen.stdout
    )
    try:
        while True:
            try:
                line = await reader.readline()
            except ValueError:  # too long: it is dropped
                continue
            if not line:
                return
            log.debug("%s", line.decode(errors="replace").rstrip())
    finally:
        transport.close()
