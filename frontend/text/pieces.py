"""What each token id is worth in bytes, worked out once per model from a Hugging Face tokenizer.

Two families of decoders cover nearly every published model, and in both a token's text does not depend on its neighbours:

    byte_level     GPT-2, Llama 3, Qwen, DeepSeek, Mistral (Tekken): tokens are bytes; the text is their UTF-8 reading
    sentencepiece  Llama 2, Gemma, Phi-3: tokens are text with "▁" for space, plus tokens such as <0xE2> for single bytes

Whatever else there is (WordPiece, Metaspace, CTC) is of kind "window" and decoded by the library itself.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

from msgspec import Struct
from tokenizers import Tokenizer as HfTokenizer

Kind = Literal["byte_level", "sentencepiece", "window"]

_SPACE_MARK: Final = "▁"


class PieceTable(Struct, frozen=True):
    """Bytes of every token id, in a form that travels between processes.

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
        """The bytes of ids 0, 1, 2 …"""
        sizes = array("I")
        sizes.frombytes(self.sizes)
        start = 0
        for size in sizes:
            yield self.blob[start : start + size]
            start += size


def build_piece_table(tokenizer: HfTokenizer, decoder: Mapping[str, Any] | None) -> PieceTable:
    """The table of a tokenizer whose tokenizer.json has this `decoder` entry; of kind "window" if the entry is unknown.

    The caller must check the table against the library (`frontend.text.inspection` does) before trusting it.
    """
    shape = _decoder_shape(decoder)
    special_ids = sorted(id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special)
    tokens = _tokens_by_id(tokenizer)
    match shape:
        case ["ByteLevel"] | ["ByteLevel", "Fuse"]:
            return _table("byte_level", [_byte_level_bytes(token) for token in tokens], special_ids)
        case ["Replace", "ByteFallback", "Fuse"] | ["Replace", "ByteFallback", "Fuse", "Strip"]:
            pieces = [token.replace(_SPACE_MARK, " ").encode() for token in tokens]
            byte_ids = {id_: byte for id_, token in enumerate(tokens) if (byte := _fallback_byte(token)) is not None}
            return _table("sentencepiece", pieces, special_ids, byte_ids=byte_ids, strip_left=shape[-1] == "Strip")
        case _:
            return PieceTable(kind="window", special_ids=special_ids)


def _table(
    kind: Kind,
    pieces: Sequence[bytes],
    special_ids: list[int],
    *,
    byte_ids: dict[int, int] | None = None,
    strip_left: bool = False,
) -> PieceTable:
    sizes = array("I", map(len, pieces)).tobytes()
    return PieceTable(kind, b"".join(pieces), sizes, special_ids, byte_ids or {}, strip_left)


def _decoder_shape(decoder: Mapping[str, Any] | None) -> list[str]:
    """Names of the decoder's steps; a step with unexpected settings is named "?"."""
    if decoder is None:
        return ["?"]
    steps = cast("list[dict[str, Any]]", decoder["decoders"]) if decoder.get("type") == "Sequence" else [dict(decoder)]
    return [_step_name(step) for step in steps]


def _step_name(step: Mapping[str, Any]) -> str:
    name = str(step.get("type"))
    if name == "Replace" and (step.get("pattern"), step.get("content")) != ({"String": _SPACE_MARK}, " "):
        return "?"
    if name == "Strip" and (step.get("content"), step.get("start"), step.get("stop")) != (" ", 1, 0):
        return "?"
    return name


def _tokens_by_id(tokenizer: HfTokenizer) -> list[str]:
    """Token of each id, an unused id being ""; the library skips those when it decodes."""
    ids_end = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    return [tokenizer.id_to_token(id_) or "" for id_ in range(ids_end)]


def _byte_of_char() -> dict[str, int]:
    """GPT-2's printable stand-ins: bytes that print keep their own character, the others follow from U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(hidden)}


_BYTE_OF_CHAR: Final = _byte_of_char()


def _byte_level_bytes(token: str) -> bytes:
    """A token with any character outside the stand-ins (an added token, say) is text as it is written."""
    try:
        return bytes([_BYTE_OF_CHAR[char] for char in token])
    except KeyError:
        return token.encode()


def _fallback_byte(token: str) -> int | None:
    if len(token.encode()) != len("<0xFF>") or not (token.startswith("<0x") and token.endswith(">")):
        return None
    try:
        return int(token[3:5], 16)
    except ValueError:
        return None
