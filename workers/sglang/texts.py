"""Tokens are turned into text for the answers that a worker reads. Imports no SGLang."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from protocol.text.detokenizer import Detokenizer, Detokenizing
from protocol.text.piece_tables import checked_pieces
from protocol.text.pieces import PieceTable

log = logging.getLogger(__name__)


class TokenTexts:
    """A TokenTexts makes the texts of one engine's answers.

    By the table that frontends make theirs of, where SGLang's tokenizer has a fast one of Hugging
    Face's inside and its ids decode so; else over its own `decode`. The library's DecodeStream is
    not used: it raises on ids that change how those before them read, as the second of two byte
    tokens does that are no UTF-8 together.

    Args:
        tokenizer: SGLang's.
    Attributes:
        special_ids: what `skip_special_tokens` leaves out.
    """

    def __init__(self, tokenizer: Any) -> None:
        fast = getattr(tokenizer, "backend_tokenizer", None) or getattr(
            tokenizer, "_tokenizer", None
        )
        if not (hasattr(fast, "get_added_tokens_decoder") and hasattr(fast, "id_to_token")):
            fast = None
        decodes = tokenizer if fast is None else fast
        table = PieceTable("window") if fast is None else checked_pieces(fast, _decoder_of(fast))
        self.special_ids = frozenset(table.special_ids) or frozenset(
            getattr(tokenizer, "all_special_ids", ())
        )
        self._detokenizing = Detokenizing(
            table, lambda ids, skip: decodes.decode(ids, skip_special_tokens=skip)
        )

    def new(self, *, skip_special_tokens: bool) -> Detokenizer:
        """Returns what makes the text of one stream."""
        return self._detokenizing.new(skip_special_tokens=skip_special_tokens)


def _decoder_of(tokenizer: Any) -> Mapping[str, Any] | None:
    """Returns the `decoder` entry of the tokenizer's tokenizer.json; None if it has none or cannot
    tell.
    """
    try:
        return None if tokenizer.decoder is None else json.loads(tokenizer.decoder.__getstate__())
    except Exception:
        log.debug("the tokenizer's decoder cannot be read", exc_info=True)  # one written in Python
        return None
