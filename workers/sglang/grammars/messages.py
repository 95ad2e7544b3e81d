"""What guard and trial say to each other, each message behind its length."""

import struct
from typing import Final

import msgspec
from msgspec import Struct

from protocol.generation import Grammar

LENGTH: Final = struct.Struct("<I")


class Setup(Struct, frozen=True):
    """How SGLang's grammar backend is set up."""

    tokenizer: str
    """xgrammar's TokenizerInfo, serialized."""
    vocab_size: int
    any_whitespace: bool
    max_whitespace_cnt: int | None


class Trial(Struct, frozen=True):
    """Try this one."""

    number: int
    grammar: Grammar
    cpu_s: float
    """How long it may take, all threads together."""


class Verdict(Struct, frozen=True):
    """What came of it."""

    number: int
    refused: str | None
    """Why it must not go to the engine; None if it may."""
    cpu_s: float
    out_of_time: bool = False
    """It was given too little time to tell."""


def framed(message: Struct) -> bytes:
    """The message as it is written."""
    content = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(content)) + content
