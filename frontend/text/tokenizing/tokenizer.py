"""Turns text into packed ids, and ids into text, for one model.

HF `tokenizers` is the reference, `fastokens` serves where it agrees.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, Literal

from frontend.text.tokenizing.backends import (
    HfBackend,
    TokenizerBackend,
    first_disagreement,
    open_fastokens,
    open_hf_backend,
)
from frontend.text.tokenizing.inspection import (
    Inspection,
    TokenizerUnusable,
    inspect_in_child,
    open_hf,
)
from frontend.text.tokenizing.pool import EncodePool
from frontend.text.tokenizing.segment_cache import SegmentCache
from frontend.text.tokenizing.segments import cut, cuts_agree, join, marks_in
from protocol.errors import InvalidRequest
from protocol.process.free_memory import return_free_memory
from protocol.text.detokenizer import Detokenizing

Backend = Literal["auto", "hf", "fastokens"]

_LONE_SURROGATE: Final = "the text is not valid Unicode: it holds a lone surrogate"

_log = logging.getLogger(__name__)


class Tokenizer:
    """A Tokenizer, made by `load`, encodes and decodes for one model.

    Encoding is safe from any thread; `encode_off_loop` belongs to one event loop.

    Attributes:
        backend_name: "hf" or "fastokens", whichever encodes.
        vocab_size: one more than the largest id that the tokenizer knows (the model may have more
        rows).
        detokenizing: what makes text of ids.
        marks: where texts are cut to find tokens of earlier ones; empty if nowhere.
    """

    def __init__(
        self,
        library: TokenizerBackend,
        inspection: Inspection,
        detokenizing: Detokenizing,
        *,
        cache: SegmentCache,
        marks: Sequence[str],
    ) -> None:
        self.backend_name = library.name
        self.vocab_size = inspection.vocab_size
        self.marks = marks
        self._adds_tokens = inspection.adds_tokens
        self._cache = cache
        self._owner = cache.new_owner()
        self._library = library
        self.detokenizing = detokenizing
        self._pool = EncodePool(library.threads_max)

    @classmethod
    def load(
        cls,
        tokenizer_json: Path,
        backend: str = "auto",
        *,
        cache: SegmentCache | None = None,
        templates: str = "",
        open_fast: Callable[[Path], TokenizerBackend] = open_fastokens,
        inspect: Callable[[Path], Inspection] = inspect_in_child,
    ) -> "Tokenizer":
        """Loads a tokenizer.json.

        Blocks for 1 to 4 s without holding the interpreter: call it in a thread.

        Args:
            tokenizer_json: the file.
            backend: "fastokens" must agree with the reference on every hard text; "auto" falls back
            to "hf" where it does not.
            cache: where tokens of earlier texts are kept; None: nowhere.
            templates: what chat templates write, to find the marks at which chats are cut.
            open_fast: what opens the file with fastokens.
            inspect: what asks the reference library.
        Raises:
            TokenizerUnusable: no library reads the file, or "fastokens" was demanded and disagrees.
            ValueError: `backend` is none of the three.
        """
        if backend not in ("auto", "hf", "fastokens"):
            raise ValueError(f"tokenizer backend {backend!r} is none of auto, hf, fastokens")
        inspection = inspect(tokenizer_json)
        # fastokens keeps 4 MiB for each thread that has encoded, 16 of a vocabulary of 151k and
        # more once it has seen much, until the thread ends; the caller's may stay.
        with ThreadPoolExecutor(1) as passing:
            library = passing.submit(
                _choose_library, tokenizer_json, backend, inspection, open_fast
            ).result()
            marks = passing.submit(
                _marks_to_cut_at, library, marks_in(templates, inspection.marks)
            ).result()
        detokenizing = Detokenizing(
            inspection.pieces, _reference_decode(tokenizer_json, library, inspection)
        )
        return_free_memory()
        return cls(library, inspection, detokenizing, cache=cache or SegmentCache(0), marks=marks)

    def encode(self, text: str, *, add_special_tokens: bool) -> bytes:
        """Returns the ids of a text as u32 little-endian.

        Special tokens are wanted for a plain prompt; a rendered chat brings its own.

        Raises:
            InvalidRequest: the text holds a lone surrogate.
        """
        try:
            return self._library.encode(text, add_special_tokens=add_special_tokens)
        except UnicodeEncodeError:
            raise InvalidRequest(_LONE_SURROGATE) from None

    async def encode_off_loop(self, text: str, *, add_special_tokens: bool) -> bytes:
        """Returns what `encode` does, from the pool if what is new of the text is long.

        Raises:
            InvalidRequest: the text holds a lone surrogate.
            Overloaded: too many long texts are waiting.
        """
        if len(text) <= self._library.inline_chars_max:
            return self.encode(text, add_special_tokens=add_special_tokens)
        if (
            self.marks
            and self._cache.takes(text)
            and not (add_special_tokens and self._adds_tokens)
        ):
            return await self._encode_new_segments(text)
        return await self._pool.run(
            partial(self.encode, text, add_special_tokens=add_special_tokens)
        )

    async def _encode_new_segments(self, text: str) -> bytes:
        segments = cut(text, self.marks)
        found = self._cache.find(self._owner, segments)
        new = [segment for segment, ids in zip(segments, found, strict=True) if ids is None]
        if sum(map(len, new)) <= self._library.inline_chars_max:
            encoded = self._encode_each(new)
        else:
            encoded = await self._pool.run(partial(self._encode_each, new))
        # the last segment of a chat will be longer next time
        at_once = self._library.keeps_at_once
        for segment, ids in zip(new[:-1], encoded, strict=False):
            self._cache.keep(self._owner, segment, ids, at_once=at_once)
        rest = iter(encoded)
        tokens = join([next(rest) if ids is None else ids for ids in found])
        cached = max(0, sum(len(ids) // 4 - 1 for ids in found if ids is not None))
        self._cache.count(cached_tokens=cached, uncached_tokens=len(tokens) // 4 - cached)
        return tokens

    def _encode_each(self, texts: Sequence[str]) -> list[bytes]:
        try:
            return self._library.encode_each(texts)
        except UnicodeEncodeError:
            raise InvalidRequest(_LONE_SURROGATE) from None

    def token_id(self, token: str) -> int | None:
        """Returns the id of a token by its exact content, or None."""
        return self._library.token_id(token)

    def token(self, token_id: int) -> str | None:
        """Returns a token as the vocabulary writes it ("Ġthe", "▁the"), or None."""
        return self._library.token(token_id)


def _choose_library(
    path: Path,
    backend: Backend,
    inspection: Inspection,
    open_fast: Callable[[Path], TokenizerBackend],
) -> TokenizerBackend:
    if backend == "hf":
        return open_hf_backend(path)
    try:
        library = open_fast(path)
        text = first_disagreement(library, inspection)
        if text is None:
            return library
        reason = f"fastokens disagrees with the reference on {text}"
    except TokenizerUnusable as error:
        reason = str(error)
    if backend == "fastokens":
        raise TokenizerUnusable(reason)
    _log.warning("tokenizing with Hugging Face's library instead: %s", reason)
    return open_hf_backend(path)


def _marks_to_cut_at(library: TokenizerBackend, marks: Sequence[str]) -> Sequence[str]:
    """Returns the marks, or none where texts cut at them have other tokens than whole."""
    if not marks or cuts_agree(library, marks):
        return marks
    _log.warning(
        "every chat is tokenized from its beginning: cut at %s, texts have other tokens than whole",
        ", ".join(marks),
    )
    return ()


def _reference_decode(
    path: Path, library: TokenizerBackend, inspection: Inspection
) -> Callable[[list[int], bool], str]:
    """Returns the library's decode, where ids have no table of their own; the reference then stays
    loaded beside a faster library.
    """
    if inspection.pieces.kind != "window":
        return _no_decode
    tokenizer = library.tokenizer if isinstance(library, HfBackend) else open_hf(path)
    return lambda ids, skip: tokenizer.decode(ids, skip_special_tokens=skip)


def _no_decode(_ids: list[int], _skip: bool) -> str:
    raise AssertionError("a table decodes these ids")
