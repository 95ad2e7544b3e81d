"""Tokens → text, one token at a time, so that the text never depends on how tokens were batched on their way here."""

from typing import Any, Protocol

from tokenizers.decoders import DecodeStream

from protocol.window_text import WINDOW_TOKENS_MAX, WindowDetokenizer


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
    """SGLang's own incremental rule (DetokenizerManager)."""

    __slots__ = ("_window",)

    def __init__(self, tokenizer: Any, *, skip_special_tokens: bool) -> None:
        self._window = WindowDetokenizer(lambda ids: tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    def feed(self, token_id: int) -> str:
        return self._window.feed((token_id,))

    def flush(self) -> str:
        return self._window.flush()
