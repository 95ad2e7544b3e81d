"""Works out what each token id is worth in bytes, once per model, from a Hugging Face tokenizer.

Two families of decoders cover nearly every published model, and in both a token's text does not
depend on its neighbours:

    byte_level     GPT-2, Llama 3, Qwen, DeepSeek, Mistral (Tekken): tokens are bytes; the text is
                   their UTF-8 reading
    sentencepiece  Llama 2, Gemma, Phi-3: tokens are text with "▁" for space, plus tokens such as
                   <0xE2> for single bytes

Whatever else there is (WordPiece, Metaspace, CTC) is of kind "window" and decoded by the library
itself.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Final, cast

from protocol.text.detokenizer import Detokenizing
from protocol.text.pieces import SPACE_MARK, PieceTable, byte_level_bytes, fallback_byte, table_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HfTokenizer

_TRIALS: Final = 400


def checked_pieces(tokenizer: "HfTokenizer", decoder: Mapping[str, Any] | None) -> PieceTable:
    """Returns the piece table of a tokenizer whose tokenizer.json has this `decoder` entry, checked
    against the library.

    It is of kind "window" if the entry is unknown, or if random ids do not decode through the table
    as the library decodes them. Takes about a second with a vocabulary of 151k.
    """
    table = build_piece_table(tokenizer, decoder)
    if table.kind == "window" or _decodes_as(tokenizer, table):
        return table
    return PieceTable(kind="window", special_ids=table.special_ids)


def _decodes_as(tokenizer: "HfTokenizer", table: PieceTable) -> bool:
    """Returns whether every trial decodes through `table`, at once and id by id, to the library's
    text.
    """
    detokenizing = Detokenizing(table, decode=lambda _ids, _skip: "")
    vocab_size = len(table.sizes) // 4
    random = Random(vocab_size)  # noqa: S311 - reproducible, not secret
    favoured = [*table.byte_ids, *table.special_ids] or [0]
    for trial in range(_TRIALS):
        ids = [
            random.choice(favoured) if random.random() < 0.3 else random.randrange(vocab_size)
            for _ in range(random.randint(1, 24))
        ]
        skip = bool(trial % 2)
        wanted = tokenizer.decode(ids, skip_special_tokens=skip)
        if wanted != detokenizing.decode(ids, skip_special_tokens=skip) or wanted != _one_by_one(
            detokenizing, ids, skip=skip
        ):
            return False
    return True


def _one_by_one(detokenizing: Detokenizing, ids: Sequence[int], *, skip: bool) -> str:
    stream = detokenizing.new(skip_special_tokens=skip)
    return "".join([*(stream.feed([id_]) for id_ in ids), stream.flush()])


def build_piece_table(tokenizer: "HfTokenizer", decoder: Mapping[str, Any] | None) -> PieceTable:
    """Returns the piece table of a tokenizer whose tokenizer.json has this `decoder` entry; it is
    of kind "window" if the entry is unknown.

    `checked_pieces` checks it against the library, which must be done before it is trusted.
    """
    shape = _decoder_shape(decoder)
    special_ids = sorted(
        id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special
    )
    tokens = _tokens_by_id(tokenizer)
    match shape:
        case ["ByteLevel"] | ["ByteLevel", "Fuse"]:
            return table_of(
                "byte_level", [byte_level_bytes(token) for token in tokens], special_ids
            )
        case ["Replace", "ByteFallback", "Fuse"] | ["Replace", "ByteFallback", "Fuse", "Strip"]:
            pieces = [token.replace(SPACE_MARK, " ").encode() for token in tokens]
            byte_ids = {
                id_: byte
                for id_, token in enumerate(tokens)
                if (byte := fallback_byte(token)) is not None
            }
            return table_of(
                "sentencepiece",
                pieces,
                special_ids,
                byte_ids=byte_ids,
                strip_left=shape[-1] == "Strip",
            )
        case _:
            return PieceTable(kind="window", special_ids=special_ids)


def _decoder_shape(decoder: Mapping[str, Any] | None) -> list[str]:
    """Returns the names of the decoder's steps; a step with unexpected settings is named "?"."""
    if decoder is None:
        return ["?"]
    steps = (
        cast("list[dict[str, Any]]", decoder["decoders"])
        if decoder.get("type") == "Sequence"
        else [dict(decoder)]
    )
    return [_step_name(step) for step in steps]


def _step_name(step: Mapping[str, Any]) -> str:
    name = str(step.get("type"))
    if name == "Replace" and (step.get("pattern"), step.get("content")) != (
        {"String": SPACE_MARK},
        " ",
    ):
        return "?"
    if name == "Strip" and (step.get("content"), step.get("start"), step.get("stop")) != (
        " ",
        1,
        0,
    ):
        return "?"
    return name


def _tokens_by_id(tokenizer: "HfTokenizer") -> list[str]:
    """Returns the token of each id, an unused id being ""; the library skips those when it
    decodes.
    """
    ids_end = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    return [tokenizer.id_to_token(id_) or "" for id_ in range(ids_end)]
