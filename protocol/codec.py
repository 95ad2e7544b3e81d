"""Encodes messages of the mesh as ZMQ frames, and decodes frames into messages.

One decoder per direction; whatever is no valid message raises ProtocolViolation, nothing else.

The first frame begins with the version; behind it may follow the message's numbers
(protocol.numbering). What does not fit into the second goes on in further ones.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from protocol.diffusion import JobsTold, OutputChunk
from protocol.errors import ProtocolViolation
from protocol.limits import FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, WIRE_VERSION
from protocol.membership import (
    AdapterList,
    Draining,
    Goodbye,
    Heartbeat,
    Hello,
    Loading,
    RelayHello,
)
from protocol.replies import FileChunk, StepBatch, Tokenized
from protocol.requests import ToWorker

ToFrontend = (
    StepBatch
    | Heartbeat
    | Hello
    | AdapterList
    | RelayHello
    | Loading
    | Draining
    | Goodbye
    | FileChunk
    | Tokenized
    | JobsTold
    | OutputChunk
)

MessageT = TypeVar("MessageT")

_FRAMES: Final = 2
_FRAMES_MAX: Final = 1 + MESSAGE_BYTES_MAX // FRAME_BYTES_MAX
_encode = msgspec.msgpack.Encoder().encode
_decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
_decode_to_frontend = msgspec.msgpack.Decoder(ToFrontend).decode


def encode(message: ToWorker | ToFrontend, head: bytes = WIRE_VERSION) -> list[bytes]:
    """Returns the frames of a message: [head, msgpack, ...], none behind the head above
    FRAME_BYTES_MAX.

    The head is the version alone where messages are not numbered.
    """
    packed = _encode(message)
    if len(packed) <= FRAME_BYTES_MAX:
        return [head, packed]
    return [
        head,
        *(
            packed[start : start + FRAME_BYTES_MAX]
            for start in range(0, len(packed), FRAME_BYTES_MAX)
        ),
    ]


def decode_to_worker(frames: Sequence[bytes]) -> ToWorker:
    """Returns the message in the frames that a frontend sent to a worker.

    Raises:
        ProtocolViolation: wrong frame count, version or content.
    """
    return decode_frames(_decode_to_worker, frames, "a worker")


def decode_to_frontend(frames: Sequence[bytes]) -> ToFrontend:
    """Returns the message in the frames that a worker sent to a frontend.

    Raises:
        ProtocolViolation: wrong frame count, version or content.
    """
    return decode_frames(_decode_to_frontend, frames, "a frontend")


def packed_in(frames: Sequence[bytes]) -> bytes:
    """Returns the whole msgpack of a message's frames [head, msgpack, ...]."""
    return frames[1] if len(frames) == _FRAMES else b"".join(frames[1:])


def decode_frames(
    decode: Callable[[bytes], MessageT], frames: Sequence[bytes], receiver: str
) -> MessageT:
    """Returns what `decode` makes of the msgpack in the frames [head, msgpack, ...].

    Raises ProtocolViolation, with the `receiver` in its text, on a wrong frame count, version or
    content.
    """
    if not _FRAMES <= len(frames) <= _FRAMES_MAX:
        raise ProtocolViolation(
            f"a message has {_FRAMES} to {_FRAMES_MAX} frames, got {len(frames)}"
        )
    if frames[0][:1] != WIRE_VERSION:
        raise ProtocolViolation(f"wire version {frames[0][:8].hex()} is not {WIRE_VERSION.hex()}")
    try:
        return decode(packed_in(frames))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolViolation(f"not a message to {receiver}: {error}") from None
