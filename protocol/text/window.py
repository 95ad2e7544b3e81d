"""Turns token ids into text where no library streams it: by decoding the last few again.

What a frontend and a worker do alike.
"""

from collections.abc import Callable, Sequence
from typing import Final

WINDOW_TOKENS_MAX: Final = 16
"""Bounds the ids held back while the text ends in U+FFFD.

A character has at most four bytes, so more of them are really invalid.
"""

_REPLACEMENT: Final = "\ufffd"


class WindowDetokenizer:
    """A WindowDetokenizer decodes the last few ids again and returns what is new, for decoders
    without a table.

    The first ids of the window are only there to be decoded as inner ids, not as the start of a
    text; the method is that of vLLM's and SGLang's detokenizers. It may differ from one-shot
    decoding where a decoder looks further than the window.

    Whatever the ids are, a call costs no more than two windows' decoding: ids without any text are
    forgotten.
    """

    __slots__ = ("_decode", "_ids", "_read")

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._read = 0

    def feed(self, token_ids: Sequence[int]) -> str:
        self._ids.extend(token_ids)
        return self._advance(final=False)

    def flush(self) -> str:
        return self._advance(final=True)

    def _advance(self, *, final: bool) -> str:
        known = self._decode(self._ids[: self._read])
        whole = self._decode(self._ids)
        waiting = len(self._ids) - self._read
        if (
            waiting < WINDOW_TOKENS_MAX
            and not final
            and (whole.endswith(_REPLACEMENT) or len(whole) <= len(known))
        ):
            return ""
        if not whole.startswith(known):
            # The new ids change how those before them read, which is told already; they are read by
            # themselves.
            new = self._decode(self._ids[self._read :])
        elif not (new := whole[len(known) :]):
            del self._ids[self._read :]  # special tokens that are left out
            return ""
        del self._ids[: self._read]
        self._read = len(self._ids)
        return new
