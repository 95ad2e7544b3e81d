"""The ids of SGLang's tokenizer are worth bytes, which are found out here whatever kind of
tokenizer it is.
"""

from typing import Any, Final

from protocol.text.pieces import SPACE_MARK, PieceTable, byte_level_bytes, fallback_byte, table_of

_SAMPLES: Final = (
    "The quick brown fox, 12345 times: don't!\n\n\tdef f(x): return {'a': x}  # ok",
    "Größe café — 中文 日本語 русский العربية हिन्दी 🎉👩‍👩‍👧",
)
"""The tokens of these texts tell which family of tokenizers a table is for."""


def piece_table(tokenizer: Any, vocab_size: int) -> PieceTable:
    """Returns what each id is worth in bytes, as far as it can be told: by the family of the
    tokenizer where it is a known one, else by what it decodes each id to by itself, where parts of
    characters are U+FFFD.
    """
    ids = range(max(vocab_size, len(tokenizer)))
    special_ids = sorted({int(token_id) for token_id in tokenizer.all_special_ids})
    tokens = [_token(tokenizer, token_id) for token_id in ids]
    byte_level = table_of(
        "byte_level",
        [token if isinstance(token, bytes) else byte_level_bytes(token) for token in tokens],
        special_ids,
    )
    if _reads_as(tokenizer, byte_level):
        return byte_level
    words = [
        token.decode(errors="replace") if isinstance(token, bytes) else token for token in tokens
    ]
    byte_ids = {
        token_id: byte
        for token_id, word in enumerate(words)
        if (byte := fallback_byte(word)) is not None
    }
    pieces = [word.replace(SPACE_MARK, " ").encode() for word in words]
    for token_id, byte in byte_ids.items():
        pieces[token_id] = bytes([byte])
    joined = table_of("byte_level", pieces, special_ids)
    if _reads_as(tokenizer, joined):
        return joined
    return table_of(
        "byte_level", [_decoded(tokenizer, token_id).encode() for token_id in ids], special_ids
    )


def _token(tokenizer: Any, token_id: int) -> str | bytes:
    try:
        token = tokenizer.convert_ids_to_tokens(token_id)
    except Exception:  # noqa: BLE001 - rows of the model that the tokenizer does not have; its error is the library's own
        return ""
    return token if isinstance(token, str | bytes) else ""


def _reads_as(tokenizer: Any, table: PieceTable) -> bool:
    """Tells whether the samples come back. The first space may be one that the tokenizer put
    there.
    """
    pieces = list(table.split())
    for sample in _SAMPLES:
        ids: list[int] = tokenizer.encode(sample, add_special_tokens=False)
        read = b"".join(pieces[token_id] for token_id in ids).decode(errors="replace")
        if read.removeprefix(" ") != tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        ).removeprefix(" "):
            return False
    return True


def _decoded(tokenizer: Any, token_id: int) -> str:
    try:
        return tokenizer.decode([token_id], skip_special_tokens=False)
    except Exception:  # noqa: BLE001 - as above
        return ""
