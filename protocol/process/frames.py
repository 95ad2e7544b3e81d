"""Processes of one installation write messages to each other behind their length."""

import struct
from typing import Final

import msgspec
from msgspec import Struct

LENGTH: Final = struct.Struct("<I")
"""A frame begins with how many bytes follow."""

_encode: Final = msgspec.msgpack.Encoder().encode


def framed(message: Struct) -> bytes:
    """Returns a message as it is written: its length, then its MessagePack."""
    content = _encode(message)
    return LENGTH.pack(len(content)) + content
