"""Turns text into packed token ids, by one of two libraries behind one Protocol."""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from frontend.text.tokenizing.inspection import Inspection, TokenizerUnusable, open_hf
from protocol.tokens import pack_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HfTokenizer

_OFFSET: Final = Struct("<Q")

_LIBRARY_THREADS: Final = "FASTOKENS_BPE_THREADS"
"""Names fastokens' variable for how many threads share a long text; by itself as many as there are
cores, up to 32, with 34 MiB that they share, and a third more CPU for 32k tokens.
"""


class TokenizerBackend(Protocol):
    """A TokenizerBackend is one library's tokenizer of one model; it is safe to call from several
    threads.
    """

    name: str
    inline_chars_max: int
    """Bounds the text that is encoded on the event loop; longer text is in the pool."""
    threads_max: int
    """Counts the pool threads that may use it."""
    keeps_at_once: bool
    """Says whether a segment's tokens are kept when it comes first, for it is dear to tokenize;
    else when it comes again.
    """

    def encode(self, text: str, *, add_special_tokens: bool) -> bytes:
        """Returns the ids of `text` as u32 little-endian.

        Raises:
            UnicodeEncodeError: the text holds a lone surrogate.
        """
        ...

    def encode_each(self, texts: Sequence[str]) -> list[bytes]:
        """Returns the ids of each text as u32 little-endian, without special tokens that the text
        does not hold.

        Raises:
            UnicodeEncodeError: a text holds a lone surrogate.
        """
        ...

    def token_id(self, token: str) -> int | None:
        """Returns the id of a token by its exact content; None for an unknown one."""
        ...

    def token(self, token_id: int) -> str | None:
        """Returns a token as the vocabulary writes it ("Ġthe", "▁the"), or None."""
        ...


class HfBackend:
    """HfBackend encodes with Hugging Face `tokenizers`, the reference: 128 tokens take 0.4 ms, 8k
    30 ms, 32k 150 ms.

    Only `encode_batch_fast` lets other threads run meanwhile: the event loop stalled for 5 ms
    beside a 32k-token text in a thread, for 112 ms beside `encode`. A hop to a thread and back
    costs 0.11 ms, so text of less than about 0.7 ms stays inline.
    """

    name = "hf"
    inline_chars_max = 1_000
    keeps_at_once = True

    def __init__(self, tokenizer: "HfTokenizer") -> None:
        self.tokenizer = tokenizer
        self.threads_max = max(1, min(4, os.cpu_count() or 1))

    def encode(self, text: str, *, add_special_tokens: bool) -> bytes:
        (encoding,) = self.tokenizer.encode_batch_fast(
            [_checked(text)], add_special_tokens=add_special_tokens
        )
        return pack_tokens(encoding.ids)

    def encode_each(self, texts: Sequence[str]) -> list[bytes]:
        encodings = self.tokenizer.encode_batch_fast(
            [_checked(text) for text in texts], add_special_tokens=False
        )
        return [pack_tokens(encoding.ids) for encoding in encodings]

    def token_id(self, token: str) -> int | None:
        return self.tokenizer.token_to_id(token)

    def token(self, token_id: int) -> str | None:
        return self.tokenizer.id_to_token(token_id)


class FastokensBackend:
    """FastokensBackend encodes with `fastokens`: 128 tokens take 6 µs, 8k 0.1 ms, 32k 0.5 ms (a
    SentencePiece vocabulary ten times that).

    `encode_batch_flat` lets other threads run and makes no Python object per token. Up to 40k
    characters (about 10k tokens, 0.1 ms; 2 to 6 ms of text that is no words) the hop to a thread of
    0.11 ms, and two threads fighting for the interpreter, cost more than they win. Each thread that
    encodes keeps a cache of words of its own, which begins with the vocabulary's (4 MiB of 32k
    tokens, 16 of 151k), measured to grow to 124 MiB and no further under endless new words: hence
    a single pool thread that ends when it rests, and none of the library's own.
    """

    name = "fastokens"
    inline_chars_max = 40_960
    threads_max = 1
    keeps_at_once = False

    def __init__(self, tokenizer_json: Path) -> None:
        """Opens the file with fastokens; raises TokenizerUnusable where the package is not
        installed, or does not read the file.
        """
        os.environ.setdefault(_LIBRARY_THREADS, "1")
        try:
            from fastokens import Tokenizer  # noqa: PLC0415 - has wheels for Linux on x86-64 only
        except ImportError:
            raise TokenizerUnusable("fastokens is not installed on this machine") from None
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer_json))
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
        except Exception as error:  # noqa: BLE001 - the library's errors have no common class
            raise TokenizerUnusable(
                f"fastokens does not read the tokenizer.json: {error}"
            ) from None

    def encode(self, text: str, *, add_special_tokens: bool) -> bytes:
        ids, _ = self._tokenizer.encode_batch_flat(
            [_checked(text)], add_special_tokens=add_special_tokens
        )
        return ids

    def encode_each(self, texts: Sequence[str]) -> list[bytes]:
        ids, offsets = self._tokenizer.encode_batch_flat(
            [_checked(text) for text in texts], add_special_tokens=False
        )
        ends = [4 * offset for (offset,) in _OFFSET.iter_unpack(offsets)]
        return [ids[start:end] for start, end in pairwise(ends)]

    def token_id(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def token(self, token_id: int) -> str | None:
        return self._tokenizer.id_to_token(token_id)


def open_fastokens(tokenizer_json: Path) -> TokenizerBackend:
    """Returns a backend that encodes with fastokens what the file says.

    Raises:
        TokenizerUnusable: it is not installed or does not read the file.
    """
    return FastokensBackend(tokenizer_json)


def open_hf_backend(tokenizer_json: Path) -> HfBackend:
    """Returns a backend that encodes with the reference library what the file says.

    Raises:
        TokenizerUnusable: it does not read the file.
    """
    return HfBackend(open_hf(tokenizer_json))


_SHOWN_CHARS: Final = 40


def first_disagreement(library: TokenizerBackend, inspection: Inspection) -> str | None:
    """Returns the first reference text that `library` encodes differently, shortened for a log
    line; None if there is none.
    """
    for row in inspection.reference:
        if not _agrees(library, row.text, plain=row.plain, with_special=row.with_special):
            return ascii(row.text[:_SHOWN_CHARS])
    return None


def _agrees(library: TokenizerBackend, text: str, *, plain: bytes, with_special: bytes) -> bool:
    try:
        return (
            library.encode(text, add_special_tokens=False) == plain
            and library.encode(text, add_special_tokens=True) == with_special
        )
    except Exception:  # noqa: BLE001 - whatever it raises where the reference does not is a disagreement
        return False


def _checked(text: str) -> str:
    """Returns the text, or raises UnicodeEncodeError: lone surrogates are no text, and the
    libraries answer them with errors of their own kinds.
    """
    if not text.isascii():
        text.encode()
    return text
