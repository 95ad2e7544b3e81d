"""Defines what a parent and its frontend processes tell each other.

Both are of one start of one installation, so nothing here is kept for others.
"""

import asyncio
import socket
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from frontend.settings import FrontendSettings
from protocol.process.frames import LENGTH, framed

FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bounds a message: the metrics of thousands of workers with many ranks are some ten megabytes."""

UNREAD_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bounds what is held for another process that reads nothing, but for one message; what comes
beyond is not said.
"""


class Begin(Struct, frozen=True, tag="begin"):
    """A Begin is the first message to a process: what it is to be."""

    settings: FrontendSettings
    number: int
    count: int


class Leave(Struct, frozen=True, tag="leave"):
    """A Leave says that the parent was told to stop; the second one hurries, as a second signal
    does.
    """


class Asked(Struct, frozen=True, tag="asked"):
    """An Asked is a question that a process answers with an Answer of the same number."""

    number: int
    topic: str
    body: bytes


class Told(Struct, frozen=True, tag="told"):
    """A Told is what another process has to say to all."""

    topic: str
    body: bytes


class Answers(Struct, frozen=True, tag="answers"):
    """An Answers holds what was answered to an Ask or a Scrape of the same number."""

    number: int
    bodies: list[bytes]


ToProcess = Begin | Leave | Asked | Told | Answers


class Serving(Struct, frozen=True, tag="serving"):
    """A Serving says that a process takes workers and requests."""


class CannotStart(Struct, frozen=True, tag="cannot_start"):
    """A CannotStart is a process's last word, in one line."""

    reason: str


class Tell(Struct, frozen=True, tag="tell"):
    """A Tell is for all other processes, as Told."""

    topic: str
    body: bytes


class Ask(Struct, frozen=True, tag="ask"):
    """An Ask is put to all other processes; what they answer in time comes back as Answers."""

    number: int
    topic: str
    body: bytes


class Scrape(Struct, frozen=True, tag="scrape"):
    """A Scrape asks for the metrics of all processes together: the Answers have one body."""

    number: int


class Answer(Struct, frozen=True, tag="answer"):
    """An Answer answers an Asked."""

    number: int
    body: bytes


ToParent = Serving | CannotStart | Tell | Ask | Scrape | Answer

MessageT = TypeVar("MessageT")

to_process = msgspec.msgpack.Decoder(ToProcess)
to_parent = msgspec.msgpack.Decoder(ToParent)


def begin_from(connection: socket.socket) -> Begin:
    """Returns the first message to a process, waiting for it, and reads no further.

    Raises:
        EOFError: the parent has ended.
        msgspec.MsgspecError: it is another message.
    """
    (size,) = LENGTH.unpack(_exactly(connection, LENGTH.size))
    return msgspec.msgpack.decode(_exactly(connection, size), type=Begin)


def _exactly(connection: socket.socket, size: int) -> bytes:
    read = b""
    while len(read) < size:
        piece = connection.recv(size - len(read))
        if not piece:
            raise EOFError("the parent has ended")
        read += piece
    return read


def say(writer: asyncio.StreamWriter, message: "ToProcess | ToParent") -> None:
    """Says something to the other side, unless that has not read for long.

    Only Leave is said even then: a process that was stopped must find it when it goes on.
    """
    transport = writer.transport
    has_room = transport.get_write_buffer_size() < UNREAD_BYTES_MAX
    if not transport.is_closing() and (has_room or isinstance(message, Leave)):
        writer.write(framed(message))


async def heard(
    reader: asyncio.StreamReader, decoder: "msgspec.msgpack.Decoder[MessageT]"
) -> MessageT | None:
    """Returns the next message; None where the other side has ended."""
    try:
        (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        if size > FRAME_BYTES_MAX:
            return None
        return decoder.decode(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
