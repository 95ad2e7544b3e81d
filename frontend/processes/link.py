"""A frontend process talks to its parent, and through it to its siblings."""

import asyncio
import itertools
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from socket import socket
from typing import Final

from frontend.processes.messages import (
    Answer,
    Answers,
    Ask,
    Asked,
    Leave,
    Scrape,
    Serving,
    Tell,
    Told,
    ToParent,
    heard,
    say,
    to_process,
)

ANSWERS_S_MAX: Final = 2.0
"""Bounds the wait for siblings' answers: twice what the parent gives each of them."""

EXIT_ORPHANED: Final = 1

log = logging.getLogger(__name__)


class Link:
    """A Link is one end of the socket pair between a process and its parent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[list[bytes]]] = {}
        self._answering: dict[str, Callable[[bytes], bytes]] = {}
        self._hearing: dict[str, Callable[[bytes], None]] = {}
        self._on_leave: Callable[[], None] | None = None
        self._leaves = 0
        """Counts how often the parent said to leave while nobody heeded it."""
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def over(cls, connection: socket) -> "Link":
        """Returns a link over a socket that is connected."""
        return cls(*await asyncio.open_unix_connection(sock=connection))

    def answer(self, topic: str, handler: Callable[[bytes], bytes]) -> None:
        """Has questions of a topic answered."""
        self._answering[topic] = handler

    def hear(self, topic: str, handler: Callable[[bytes], None]) -> None:
        """Has what siblings tell of a topic heard."""
        self._hearing[topic] = handler

    def heed(self, on_leave: Callable[[], None]) -> None:
        """Has `on_leave` called each time that the parent says to leave, or has said so already."""
        self._on_leave = on_leave
        for _ in range(self._leaves):
            on_leave()

    def serving(self) -> None:
        """Tells the parent that this process serves."""
        self._send(Serving())

    def tell(self, topic: str, body: bytes) -> None:
        """Tells all siblings something; who is not there does not hear it, nor does anybody while
        the parent has not read for long.
        """
        self._send(Tell(topic, body))

    async def ask(self, topic: str, body: bytes = b"") -> list[bytes]:
        """Returns what the siblings answer, those that do so in time."""
        return await self._answers(lambda number: Ask(number, topic, body))

    async def scrape(self) -> bytes | None:
        """Returns the metrics of all processes together; None if the parent does not answer."""
        return next(iter(await self._answers(Scrape)), None)

    async def close(self) -> None:
        """Closes the link."""
        self._listening.cancel()
        with suppress(asyncio.CancelledError):
            await self._listening
        self._writer.close()

    async def _answers(self, question: Callable[[int], ToParent]) -> list[bytes]:
        number = next(self._numbers)
        answers = self._open[number] = asyncio.get_running_loop().create_future()
        self._send(question(number))
        try:
            async with asyncio.timeout(ANSWERS_S_MAX):
                return await answers
        except TimeoutError:
            return []
        finally:
            del self._open[number]

    def _send(self, message: ToParent) -> None:
        say(self._writer, message)

    async def _listen(self) -> None:
        try:
            while (message := await heard(self._reader, to_process)) is not None:
                try:
                    self._take(message)
                except Exception:
                    log.exception("defect in what siblings are told")
        except Exception:
            log.exception("the parent cannot be understood")
        # the parent is no more, where the kernel did not see to it already
        os._exit(EXIT_ORPHANED)

    def _take(self, message: object) -> None:
        match message:
            case Leave():
                if self._on_leave is None:
                    self._leaves += 1
                else:
                    self._on_leave()
            case Asked(number, topic, body):
                answer = self._answering.get(topic)
                if answer is not None:
                    self._send(Answer(number, answer(body)))
            case Told(topic, body):
                hear = self._hearing.get(topic)
                if hear is not None:
                    hear(body)
            case Answers(number, bodies):
                answers = self._open.get(number)
                if answers is not None and not answers.done():
                    answers.set_result(bodies)
            case _:
                pass
