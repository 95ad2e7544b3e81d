"""Tokens → text, one token at a time, so that the text never depends on how tokens were batched on their way here."""

from typing import Any, Final, Protocol

from tokenizers.decoders import DecodeStream

WINDOW_TOKENS_MAX: Final = 16
"""Ids held back while the text ends in U+FFFD. A character has at most four bytes, so more of them are really invalid."""

_REPLACEMENT: Final = "\ufffd"


class TokenText(Protocol):
    """The text of one stream of tokens."""

    def feed(self, token_id: int) -> str:
        """The text that this token completes; "" while a character is unfinished."""
        ...

    def flush(self) -> str:
        """What is held back, unfinished characters as U+FFFD. For the end of the stream."""
        ...


def token_text(tokenizer: Any, *, skip_special_tokens: bool) -> TokenText:
    """A stream of text by SGLang's tokenizer: the library's own where there is a fast one inside, else a window over `decode`."""
    fast = getattr(tokenizer, "backend_tokenizer", None) or getattr(tokenizer, "_tokenizer", None)
    if hasattr(fast, "token_to_id") and hasattr(fast, "id_to_token"):
        return _StreamText(fast, skip_special_tokens=skip_special_tokens)
    return _WindowText(tokenizer, skip_special_tokens=skip_special_tokens)


class _StreamText:
    """`tokenizers.decoders.DecodeStream`, which keeps what it holds back to itself; it is kept here too, for the end."""

    __slots__ = ("_held", "_skip", "_stream", "_tokenizer")

    def __init__(self, tokenizer: Any, *, skip_special_tokens: bool) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._stream = DecodeStream(skip_special_tokens=skip_special_tokens)
        self._held: list[int] = []

    def feed(self, token_id: int) -> str:
        self._held.append(token_id)
        text = self._stream.step(self._tokenizer, token_id)
        if text is None and len(self._held) < WINDOW_TOKENS_MAX:
            return ""
        if text is None:
            text = self._tokenizer.decode(self._held, skip_special_tokens=self._skip)
            if text:  # invalid bytes; else tokens without text, which the stream may go on behind
                self._stream = DecodeStream(skip_special_tokens=self._skip)
        self._held.clear()
        return text

    def flush(self) -> str:
        text = self._tokenizer.decode(self._held, skip_special_tokens=self._skip) if self._held else ""
        self._held.clear()
        return text


class _WindowText:
    """SGLang's own incremental rule (DetokenizerManager): decode the last few ids again, and take what is new."""

    __slots__ = ("_ids", "_read", "_skip", "_tokenizer")

    def __init__(self, tokenizer: Any, *, skip_special_tokens: bool) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._ids: list[int] = []
        self._read = 0

    def feed(self, token_id: int) -> str:
        self._ids.append(token_id)
        return self._advance(final=False)

    def flush(self) -> str:
        return self._advance(final=True)

    def _advance(self, *, final: bool) -> str:
        known = self._tokenizer.decode(self._ids[: self._read], skip_special_tokens=self._skip)
        whole = self._tokenizer.decode(self._ids, skip_special_tokens=self._skip)
        waiting = len(self._ids) - self._read
        unfinished = whole.endswith(_REPLACEMENT) and waiting < WINDOW_TOKENS_MAX and not final
        if unfinished or len(whole) <= len(known):
            return ""
        del self._ids[: self._read]
        self._read = len(self._ids)
        return whole[len(known) :]
