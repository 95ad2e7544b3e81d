"""The sim engine writes with token ids that are read from a Hugging Face tokenizer.json."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, Literal, cast

from protocol.process.start_error import StartError

WORDS_MAX: Final = 4_096
"""The engine writes with at most this many words: low ids are the frequent, short words of a
trained vocabulary, enough for text that reads well, and small.
"""

_WORDS_MIN: Final = 64
_SPACED_WORD: Final = re.compile("[Ġ▁][a-z]{2,}")
_WORD: Final = re.compile("[A-Za-z]{2,}")


def read_word_ids(
    tokenizer_json: Path,
    *,
    vocab_size: int,
    kind: Literal["words", "any"],
    excluded: Collection[int],
) -> list[int]:
    """Returns the ids to write with, ascending: words that carry their space if there are enough,
    else words, else whatever is not special.

    Args:
        vocab_size: ids from here on are left out; 0 for no limit.
        excluded: ids never to write, such as eos.
    Raises:
        StartError: the file is no tokenizer, or no id is left.
    """
    plain = _plain_tokens(tokenizer_json, vocab_size, set(excluded))
    if kind == "words":
        for pattern in (_SPACED_WORD, _WORD):
            words = sorted(
                token_id for token_id, piece in plain.items() if pattern.fullmatch(piece)
            )
            if len(words) >= _WORDS_MIN:
                return words[:WORDS_MAX]
    if not plain:
        raise StartError(
            f"{tokenizer_json} has no plain token below the vocabulary size {vocab_size}"
        )
    return sorted(plain)


def _plain_tokens(path: Path, vocab_size: int, excluded: set[int]) -> dict[int, str]:
    try:
        tokenizer = cast("dict[str, Any]", json.loads(path.read_bytes()))
        vocab = cast("dict[str, int] | list[list[Any]]", tokenizer["model"]["vocab"])
        added = {
            int(token["id"])
            for token in cast("list[dict[str, Any]]", tokenizer.get("added_tokens") or [])
        }
    except (ValueError, KeyError, TypeError) as error:
        raise StartError(f"{path} is no tokenizer with a vocabulary: {error}") from None
    # A Unigram vocabulary is a list of [piece, score]; BPE, WordPiece and WordLevel map piece to
    # id.
    pieces = (
        {row: str(entry[0]) for row, entry in enumerate(vocab)}
        if isinstance(vocab, list)
        else {i: piece for piece, i in vocab.items()}
    )
    hidden = excluded | added
    return {
        i: piece
        for i, piece in pieces.items()
        if i not in hidden and not (vocab_size and i >= vocab_size)
    }
