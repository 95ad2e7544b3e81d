"""A parent starts a frontend process, talks to it, and awaits its end."""

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

from frontend.processes.messages import (
    Answer,
    Asked,
    Begin,
    ToParent,
    ToProcess,
    heard,
    say,
    to_parent,
)
from protocol.process.parent_death import end_with_parent

ANSWER_S_MAX: Final = 1.0
"""Bounds the wait for one process's answer, whose loop may stand still: a scrape waits for it."""

MODULE: Final = "frontend.one_of_several"


class Child:
    """A Child is one frontend process, from its start to its end.

    Attributes:
        number: its place among the others.
        serves: whether it said that it does, and has not ended.
        served: whether it ever did.
        why: its last word if it cannot start; empty otherwise.
    """

    def __init__(
        self,
        number: int,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.number = number
        self.serves = self.served = False
        self.why = ""
        self._process = process
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[bytes | None]] = {}

    @classmethod
    async def start(cls, begin: Begin, listener: socket.socket, standing: int) -> "Child":
        """Starts a process.

        Args:
            standing: descriptor of the memory that all share.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = (theirs.fileno(), listener.fileno(), standing)
            path = os.pathsep.join(filter(None, sys.path)) or os.curdir
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", MODULE, *map(str, descriptors)),
                pass_fds=descriptors,
                stdin=asyncio.subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path},
                preexec_fn=partial(_die_with_parent, os.getpid()),
            )
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        child = cls(begin.number, process, reader, writer)
        child.send(begin)
        return child

    @property
    def pid(self) -> int:
        """Returns the process's id."""
        return self._process.pid

    def send(self, message: ToProcess) -> None:
        """Says something to the process, unless it has not read for long."""
        say(self._writer, message)

    async def ask(self, topic: str, body: bytes) -> bytes | None:
        """Returns the answer to a question; None if there is none in time."""
        if not self.serves:
            return None
        number = next(self._numbers)
        answer = self._open[number] = asyncio.get_running_loop().create_future()
        self.send(Asked(number, topic, body))
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._open[number]

    async def ended(self, on_message: "Callable[[Child, ToParent], None]") -> int:
        """Hands on what the process says until it has ended; returns its exit code."""
        while (message := await heard(self._reader, to_parent)) is not None:
            if not isinstance(message, Answer):
                on_message(self, message)
            elif (answer := self._open.get(message.number)) and not answer.done():
                answer.set_result(message.body)
        self.serves = False
        for answer in self._open.values():
            if not answer.done():
                answer.set_result(None)
        self._writer.close()
        return await self._process.wait()

    def kill(self) -> None:
        """Kills the process, if it has not ended."""
        if self._process.returncode is None:
            self._process.kill()


def _die_with_parent(parent: int) -> None:
    """Ends the process when its parent is killed, as a lone frontend would end; runs between fork
    and exec.
    """
    if not end_with_parent(parent, signal.SIGKILL):
        os._exit(1)
