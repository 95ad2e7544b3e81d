"""Holds what each token id is worth in bytes: made once per model, by whoever has its tokenizer,
for whoever makes text of ids.
"""

from array import array
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from msgspec import Struct

Kind = Literal["byte_level", "sentencepiece", "window"]

PIECES_FILE: Final = "token_pieces.msgpack"
"""Names the PieceTable among the files of a card whose workers tokenize."""

SPACE_MARK: Final = "▁"


class PieceTable(Struct, frozen=True):
    """A PieceTable holds the bytes of every token id, in a form that travels between processes.

    Attributes:
        kind: how the bytes become text; `blob` is empty for "window".
        blob: the bytes of ids 0, 1, 2 … one after the other.
        sizes: u32 little-endian length of each id's bytes, shape [ids].
        special_ids: ids that `skip_special_tokens` drops.
        byte_ids: id → byte value of the byte-fallback tokens ("sentencepiece" only).
        strip_left: drop one leading space of the whole text ("sentencepiece" only).
    """

    kind: Kind
    blob: bytes = b""
    sizes: bytes = b""
    special_ids: list[int] = []
    byte_ids: dict[int, int] = {}
    strip_left: bool = False

    def split(self) -> Iterator[bytes]:
        """Yields the bytes of ids 0, 1, 2 …"""
        sizes = array("I")
        sizes.frombytes(self.sizes)
        start = 0
        for size in sizes:
            yield self.blob[start : start + size]
            start += size


def table_of(
    kind: Kind,
    pieces: Sequence[bytes],
    special_ids: list[int],
    *,
    byte_ids: dict[int, int] | None = None,
    strip_left: bool = False,
) -> PieceTable:
    """Returns the table of tokens with these bytes, in the order of their ids."""
    sizes = array("I", map(len, pieces)).tobytes()
    return PieceTable(kind, b"".join(pieces), sizes, special_ids, byte_ids or {}, strip_left)


def _byte_of_char() -> dict[str, int]:
    """Returns the byte of each of GPT-2's printable stand-ins: bytes that print keep their own
    character, the others follow from U+0100.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + n): byte for n, byte in enumerate(hidden)
    }


_BYTE_OF_CHAR: Final = _byte_of_char()


def byte_level_bytes(token: str) -> bytes:
    """Returns the bytes of a GPT-2 style token.

    One with any character outside the stand-ins (an added token, say) is text as it is written.
    """
    try:
        return bytes([_BYTE_OF_CHAR[char] for char in token])
    except KeyError:
        return token.encode()


def fallback_byte(token: str) -> int | None:
    """Returns the byte that a token such as <0xE2> stands for; None for any other token."""
    if len(token.encode()) != len("<0xFF>") or not (
        token.startswith("<0x") and token.endswith(">")
    ):
        return None
    try:
        return int(token[3:5], 16)
    except ValueError:
        return None
