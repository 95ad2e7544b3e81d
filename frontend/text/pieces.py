"""What each token id is worth in bytes, worked out once per model from a Hugging Face tokenizer.

Two families of decoders cover nearly every published model, and in both a token's text does not depend on its neighbours:

    byte_level     GPT-2, Llama 3, Qwen, DeepSeek, Mistral (Tekken): tokens are bytes; the text is their UTF-8 reading
    sentencepiece  Llama 2, Gemma, Phi-3: tokens are text with "▁" for space, plus tokens such as <0xE2> for single bytes

Whatever else there is (WordPiece, Metaspace, CTC) is of kind "window" and decoded by the library itself.
"""

from collections.abc import Mapping
from typing import Any, cast

from tokenizers import Tokenizer as HfTokenizer

from protocol.pieces import SPACE_MARK, PieceTable, byte_level_bytes, fallback_byte, table_of


def build_piece_table(tokenizer: HfTokenizer, decoder: Mapping[str, Any] | None) -> PieceTable:
    """The table of a tokenizer whose tokenizer.json has this `decoder` entry; of kind "window" if the entry is unknown.

    The caller must check the table against the library (`frontend.text.inspection` does) before trusting it.
    """
    shape = _decoder_shape(decoder)
    special_ids = sorted(id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special)
    tokens = _tokens_by_id(tokenizer)
    match shape:
        case ["ByteLevel"] | ["ByteLevel", "Fuse"]:
            return table_of("byte_level", [byte_level_bytes(token) for token in tokens], special_ids)
        case ["Replace", "ByteFallback", "Fuse"] | ["Replace", "ByteFallback", "Fuse", "Strip"]:
            pieces = [token.replace(SPACE_MARK, " ").encode() for token in tokens]
            byte_ids = {id_: byte for id_, token in enumerate(tokens) if (byte := fallback_byte(token)) is not None}
            return table_of("sentencepiece", pieces, special_ids, byte_ids=byte_ids, strip_left=shape[-1] == "Strip")
        case _:
            return PieceTable(kind="window", special_ids=special_ids)


def _decoder_shape(decoder: Mapping[str, Any] | None) -> list[str]:
    """Names of the decoder's steps; a step with unexpected settings is named "?"."""
    if decoder is None:
        return ["?"]
    steps = cast("list[dict[str, Any]]", decoder["decoders"]) if decoder.get("type") == "Sequence" else [dict(decoder)]
    return [_step_name(step) for step in steps]


def _step_name(step: Mapping[str, Any]) -> str:
    name = str(step.get("type"))
    if name == "Replace" and (step.get("pattern"), step.get("content")) != ({"String": SPACE_MARK}, " "):
        return "?"
    if name == "Strip" and (step.get("content"), step.get("start"), step.get("stop")) != (" ", 1, 0):
        return "?"
    return name


def _tokens_by_id(tokenizer: HfTokenizer) -> list[str]:
    """Token of each id, an unused id being ""; the library skips those when it decodes."""
    ids_end = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    return [tokenizer.id_to_token(id_) or "" for id_ in range(ids_end)]
