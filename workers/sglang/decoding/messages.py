"""A worker and the process that decodes its media talk to each other by these messages, each
behind its length.
"""

from typing import BinaryIO, TypeVar

import msgspec
from msgspec import Struct

from protocol.process.frames import LENGTH

_Message = TypeVar("_Message", bound=Struct)


class Job(Struct, frozen=True):
    """A Job asks for some frames of a video, or for none of them and only what it is; or for a
    sound.
    """

    data: bytes
    frames: list[int] = []
    """Numbers the frames that are wanted, in ascending order."""
    sound_rate: int = 0
    """Asks for the sound that the data is, with this many samples a second; 0 for a video."""


class Found(Struct, frozen=True):
    """A Found says what a video is. The frames that were asked for follow it, without a length:
    shape [frames, height, width, 3], a byte each.
    """

    frames: int = 0
    fps: float = 0.0
    """Tells how many frames there are in a second, on average."""
    height: int = 0
    width: int = 0
    refused: str | None = None
    """Tells why it cannot be decoded; then nothing follows."""
    samples: int = 0
    """Counts the samples of a sound, which follow: f32 in the order of this host's bytes."""

    @property
    def pixels(self) -> int:
        """Counts the pixels of each frame."""
        return self.height * self.width


class Refused(Exception):  # no more is wrong than that
    """A Refused says in a sentence what a medium has too much or nothing of."""


def write(file: BinaryIO, message: Struct) -> None:
    """Writes a message behind its length.

    Raises:
        OSError: nobody reads it.
    """
    content = msgspec.msgpack.encode(message)
    file.write(LENGTH.pack(len(content)))
    file.write(content)
    file.flush()


def read(file: BinaryIO, kind: type[_Message]) -> _Message:
    """Returns the next message.

    Raises:
        EOFError: there is none, or not the whole of it.
    """
    head = file.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    (length,) = LENGTH.unpack(head)
    content = file.read(length)
    if len(content) < length:
        raise EOFError
    return msgspec.msgpack.decode(content, type=kind)
