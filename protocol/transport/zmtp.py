"""Says in bytes what ZeroMQ's sockets say to each other where there is no key: greetings, commands,
and messages cut into frames. Pure.

Source: rfc.zeromq.org/spec/37 (ZMTP 3.1) with the mechanism NULL, and libzmq's reading of it: it
takes PING from whoever is of version 3.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Final

SIGNATURE: Final = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"
"""Is what a greeting begins with; a version follows, and then the name of a mechanism."""

VERSION_END: Final = 12

MECHANISM: Final = slice(VERSION_END, VERSION_END + 20)
"""Is where a greeting names its mechanism, in zeros from its end on."""

NULL: Final = b"NULL"

GREETING: Final = SIGNATURE + b"\x03\x01" + NULL.ljust(20, b"\x00") + bytes(32)

PING: Final = b"\x04\x07\x04PING\x00\x00"
"""Asks for a sign of life; whoever is asked owes nothing but the answer."""

_PONG: Final = b"\x04PONG"
_ASKED: Final = b"\x04PING"
_CONTEXT: Final = slice(len(_ASKED) + 2, len(_ASKED) + 2 + 16)
"""Is what a PING has repeated, behind two bytes of how long it would wait."""

_READY: Final = b"\x05READY"
_SOCKET_TYPE: Final = b"Socket-Type"

_MORE, _LONG, _COMMAND = 1, 2, 4
_SHORT_BYTES_MAX: Final = 255
_LONG_HEAD: Final = struct.Struct(">BQ")
_SHORT_HEADS: Final = [
    [bytes((more, size)) for size in range(_SHORT_BYTES_MAX + 1)] for more in (0, _MORE)
]
"""Holds the heads of frames by whether more of the message follows, and by size."""


class ZmtpViolation(Exception):
    """A ZmtpViolation says that what a peer sent is not what a peer sends."""


def packed(frames: Sequence[bytes], begin: int = 0) -> bytes:
    """Returns a message as it is sent, of the frames from `begin` on."""
    parts: list[bytes] = []
    last = len(frames) - 1
    for index in range(begin, last + 1):
        frame = frames[index]
        size, more = len(frame), index < last
        parts.append(
            _SHORT_HEADS[more][size]
            if size <= _SHORT_BYTES_MAX
            else _LONG_HEAD.pack(_LONG | more, size)
        )
        parts.append(frame)
    return b"".join(parts)


def ready(socket_type: bytes) -> bytes:
    """Returns the command by which a socket says what it is, and that it is ready."""
    return _command(
        _READY
        + bytes((len(_SOCKET_TYPE),))
        + _SOCKET_TYPE
        + len(socket_type).to_bytes(4, "big")
        + socket_type
    )


def socket_type_in(command: bytes) -> bytes:
    """Returns what kind of socket a peer is, by the command that says it is ready.

    Raises:
        ZmtpViolation: it is another command.
    """
    if not command.startswith(_READY):
        raise ZmtpViolation("it is not ready")
    at = len(_READY)
    while at < len(command):
        name = command[at + 1 : (at := at + 1 + command[at])]
        size = int.from_bytes(command[at : at + 4], "big")
        value = command[at + 4 : (at := at + 4 + size)]
        if name.lower() == _SOCKET_TYPE.lower():
            return value
    raise ZmtpViolation("it does not say what it is")


def answer_to(command: bytes) -> bytes | None:
    """Returns what is said to a command of a peer that is ready; None where it wants no answer."""
    return _command(_PONG + command[_CONTEXT]) if command.startswith(_ASKED) else None


def mechanism_in(greeting: bytes) -> bytes:
    """Returns the name of the mechanism of a whole greeting.

    Raises:
        ZmtpViolation: it is none, or older than version 3.
    """
    if greeting[:1] != SIGNATURE[:1] or greeting[9:10] != SIGNATURE[9:] or greeting[10] < 3:
        raise ZmtpViolation("it does not greet as version 3 does")
    return greeting[MECHANISM].rstrip(b"\x00")


class Cutter:
    """A Cutter makes messages of what arrives piece by piece.

    Args:
        on_command: gets the body of each command.
        prefix: frames put before those of each message.
        frame_bytes_max, message_bytes_max, frames_max: of one message, without the prefix.
    """

    __slots__ = (
        "_frame_bytes_max",
        "_frames",
        "_frames_max",
        "_message_bytes",
        "_message_bytes_max",
        "_on_command",
        "_prefix",
        "_rest",
        "_wanted_bytes",
    )

    def __init__(
        self,
        on_command: Callable[[bytes], None],
        *,
        prefix: Sequence[bytes] = (),
        frame_bytes_max: int,
        message_bytes_max: int,
        frames_max: int,
    ) -> None:
        self._on_command = on_command
        self._prefix = prefix
        self._frame_bytes_max = frame_bytes_max
        self._message_bytes_max = message_bytes_max
        self._frames_max = len(prefix) + frames_max
        self._frames = [*prefix]
        """Holds the frames of the message under way."""
        self._message_bytes = 0
        self._rest = bytearray()
        """Holds a frame that has not arrived as a whole: at most one, and what came with it."""
        self._wanted_bytes = 0

    def cut(self, data: bytes) -> list[list[bytes]]:  # noqa: C901, PLR0912 - a call a frame would cost as much
        """Returns the messages that are whole with this piece.

        Raises:
            ZmtpViolation: a frame or message is larger than allowed.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted_bytes:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        messages: list[list[bytes]] = []
        at, end_of_data = 0, len(data)
        while True:
            begin = at + 2
            if begin > end_of_data:
                break
            flags = data[at]
            if flags & _LONG:
                begin = at + _LONG_HEAD.size
                if begin > end_of_data:
                    break
                end = begin + int.from_bytes(data[at + 1 : begin], "big")
            else:
                end = begin + data[at + 1]
            if end - begin > self._frame_bytes_max:
                raise ZmtpViolation("a frame is too large")
            if end > end_of_data:
                begin = end
                break
            at = end
            if flags & _COMMAND:
                self._on_command(data[begin:end])
                continue
            self._frames.append(data[begin:end])
            if flags & _MORE:
                self._note_part(end - begin)
            else:
                messages.append(self._frames)
                self._frames = [*self._prefix]
                self._message_bytes = 0
        if at < end_of_data:
            self._rest += memoryview(data)[at:]
            self._wanted_bytes = begin - at
        return messages

    def _note_part(self, size_bytes: int) -> None:
        self._message_bytes += size_bytes
        if self._message_bytes > self._message_bytes_max or len(self._frames) >= self._frames_max:
            raise ZmtpViolation("a message is too large")


def _command(body: bytes) -> bytes:
    return bytes((_COMMAND, len(body))) + body
