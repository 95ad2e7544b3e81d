"""Encodes two texts as a cross-encoder reads them: one sequence of tokens, with the special tokens
that its tokenizer puts around and between.

Only the reference library knows pairs, so it is loaded beside a faster library, for cross-encoders
alone.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from frontend.text.tokenizing.inspection import open_hf
from frontend.text.tokenizing.pool import EncodePool
from protocol.errors import InvalidRequest

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as HfTokenizer

INLINE_CHARS_MAX = 1_000
"""Bounds the pairs encoded on the event loop; longer ones are encoded in a thread, as HfBackend
does with texts.
"""

_THREADS = 2


class EncodedPair(Struct, frozen=True):
    """An EncodedPair is two texts as one sequence of tokens.

    Attributes:
        token_ids: of both texts and what is around them.
        types: 1 for a token that the model is to take for one of the second text, else 0; as many
        as ids.
        second: where the second text's own tokens lie, first and one behind the last.
    """

    token_ids: Sequence[int]
    types: Sequence[int]
    second: tuple[int, int]

    def cut(self, tokens_max: int) -> "EncodedPair | None":
        """Returns the pair with so much less of its second text that it fits; None where not even
        an empty one would.
        """
        begin, end = self.second
        kept = end - (len(self.token_ids) - tokens_max)
        if kept >= end:
            return self
        if kept < begin:
            return None
        ids, types = (
            [*self.token_ids[:kept], *self.token_ids[end:]],
            [*self.types[:kept], *self.types[end:]],
        )
        return EncodedPair(ids, types, (begin, kept))


class PairTokenizer:
    """A PairTokenizer encodes pairs of texts for one cross-encoder."""

    def __init__(self, tokenizer: "HfTokenizer") -> None:
        self._tokenizer = tokenizer
        self._pool = EncodePool(_THREADS)

    @classmethod
    def load(cls, tokenizer_json: Path) -> "PairTokenizer":
        """Reads a tokenizer.json. Blocks for about a second: call it in a thread.

        Raises:
            TokenizerUnusable: the library does not read it.
        """
        return cls(open_hf(tokenizer_json))

    async def encode(self, first: str, second: str) -> EncodedPair:
        """Returns the tokens of a pair.

        Raises:
            InvalidRequest: a text holds a lone surrogate.
            Overloaded: too many long texts are waiting.
        """
        try:
            (first + second).encode()
        except UnicodeEncodeError:
            raise InvalidRequest(
                "the text is not valid Unicode: it holds a lone surrogate"
            ) from None
        if len(first) + len(second) <= INLINE_CHARS_MAX:
            return self._encode(first, second)
        return await self._pool.run(partial(self._encode, first, second))

    def _encode(self, first: str, second: str) -> EncodedPair:
        encodings: list[Encoding] = self._tokenizer.encode_batch_fast(
            [(first, second)], add_special_tokens=True
        )
        encoding = encodings[0]
        places = [place for place, text in enumerate(encoding.sequence_ids) if text == 1]
        end = len(encoding.ids) if not places else places[-1] + 1
        return EncodedPair(encoding.ids, encoding.type_ids, (places[0] if places else end, end))
