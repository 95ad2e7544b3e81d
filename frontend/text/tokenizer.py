"""One model's tokenizer: text → packed ids, ids → text. HF `tokenizers` is the reference, `fastokens` serves where it agrees."""

import ctypes
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

from frontend.text.detokenizer import Detokenizer, Detokenizing
from frontend.text.encode_pool import EncodePool
from frontend.text.encoders import Encoder, HfEncoder, first_disagreement, open_fastokens, open_hf_encoder
from frontend.text.inspection import Inspection, TokenizerUnusable, inspect_in_child, open_hf
from protocol.errors import InvalidRequest

Backend = Literal["auto", "hf", "fastokens"]

_log = logging.getLogger(__name__)


class Tokenizer:
    """Made by `load`. Encoding is safe from any thread; `encode_off_loop` belongs to one event loop.

    Attributes:
        backend_name: "hf" or "fastokens", whichever encodes.
        vocab_size: one more than the largest id that the tokenizer knows (the model may have more rows).
    """

    def __init__(self, encoder: Encoder, inspection: Inspection, detokenizing: Detokenizing) -> None:
        self.backend_name = encoder.name
        self.vocab_size = inspection.vocab_size
        self._encoder = encoder
        self._detokenizing = detokenizing
        self._pool = EncodePool(encoder.threads_max)

    @classmethod
    def load(
        cls,
        tokenizer_json: Path,
        backend: str = "auto",
        *,
        open_fast: Callable[[Path], Encoder] = open_fastokens,
        inspect: Callable[[Path], Inspection] = inspect_in_child,
    ) -> "Tokenizer":
        """Load a tokenizer.json. Blocks for 1 to 4 s without holding the interpreter: call it in a thread.

        Args:
            tokenizer_json: the file.
            backend: "fastokens" must agree with the reference on every hard text; "auto" falls back to "hf" where it does not.
            open_fast: what opens the file with fastokens.
            inspect: what asks the reference library.
        Raises:
            TokenizerUnusable: no library reads the file, or "fastokens" was demanded and disagrees.
            ValueError: `backend` is none of the three.
        """
        if backend not in ("auto", "hf", "fastokens"):
            raise ValueError(f"tokenizer backend {backend!r} is none of auto, hf, fastokens")
        inspection = inspect(tokenizer_json)
        encoder = _choose_encoder(tokenizer_json, backend, inspection, open_fast)
        detokenizing = Detokenizing(inspection.pieces, _reference_decode(tokenizer_json, encoder, inspection))
        _return_free_memory()
        return cls(encoder, inspection, detokenizing)

    def encode(self, text: str, *, add_special_tokens: bool) -> bytes:
        """Ids as u32 little-endian. Special tokens are wanted for a plain prompt; a rendered chat brings its own.

        Raises:
            InvalidRequest: the text holds a lone surrogate.
        """
        try:
            return self._encoder.encode(text, add_special_tokens=add_special_tokens)
        except UnicodeEncodeError:
            raise InvalidRequest("the text is not valid Unicode: it holds a lone surrogate") from None

    async def encode_off_loop(self, text: str, *, add_special_tokens: bool) -> bytes:
        """`encode`, in the pool if the text is long.

        Raises:
            InvalidRequest: the text holds a lone surrogate.
            Overloaded: too many long texts are waiting.
        """
        if len(text) <= self._encoder.inline_chars_max:
            return self.encode(text, add_special_tokens=add_special_tokens)
        return await self._pool.run(partial(self.encode, text, add_special_tokens=add_special_tokens))

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Text of ids, shape [n]; unknown ids are skipped."""
        return self._detokenizing.decode(token_ids, skip_special_tokens=skip_special_tokens)

    def new_detokenizer(self, *, skip_special_tokens: bool = True) -> Detokenizer:
        """An incremental detokenizer for one stream."""
        return self._detokenizing.new(skip_special_tokens=skip_special_tokens)

    def token_bytes(self, token_id: int) -> bytes:
        """Bytes of one token, for logprobs; b"" for an unknown id."""
        return self._detokenizing.token_bytes(token_id)

    def token_id(self, token: str) -> int | None:
        """Id of a token by its exact content, or None."""
        return self._encoder.token_id(token)

    def close(self) -> None:
        """End the pool's threads."""
        self._pool.close()


def _choose_encoder(path: Path, backend: Backend, inspection: Inspection, open_fast: Callable[[Path], Encoder]) -> Encoder:
    if backend == "hf":
        return open_hf_encoder(path)
    try:
        encoder = open_fast(path)
        with ThreadPoolExecutor(1) as passing:  # fastokens keeps 17 MiB and more for each thread that has encoded, until the thread ends
            text = passing.submit(first_disagreement, encoder, inspection).result()
        if text is None:
            return encoder
        reason = f"fastokens disagrees with the reference on {text}"
    except TokenizerUnusable as error:
        reason = str(error)
    if backend == "fastokens":
        raise TokenizerUnusable(reason)
    _log.warning("tokenizing with Hugging Face's library instead: %s", reason)
    return open_hf_encoder(path)


def _reference_decode(path: Path, encoder: Encoder, inspection: Inspection) -> Callable[[list[int], bool], str]:
    """The library's decode, where ids have no table of their own; the reference then stays loaded beside a faster encoder."""
    if inspection.pieces.kind != "window":
        return _no_decode
    tokenizer = encoder.tokenizer if isinstance(encoder, HfEncoder) else open_hf(path)
    return lambda ids, skip: tokenizer.decode(ids, skip_special_tokens=skip)


def _no_decode(_ids: list[int], _skip: bool) -> str:
    raise AssertionError("a table decodes these ids")


def _return_free_memory() -> None:
    """glibc keeps what a load needed for a moment: 70 MiB of 164 with a 151k vocabulary."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return
