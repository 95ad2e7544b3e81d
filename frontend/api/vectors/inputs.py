"""Texts become vectors in the same steps for embeddings, rerank and score."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from frontend.api.fields.nvext import NO_WISHES, wishes
from frontend.api.fields.sampling import priority_of
from frontend.api.fields.vectors import VectorFields
from frontend.api.launching import Launcher
from frontend.api.prompts.encoding import CHARS_PER_TOKEN_MAX, overflowing_beginning
from frontend.fleet.model_entry import ModelEntry
from frontend.http.exchange import Exchange
from frontend.http.request_id import new_request_id
from frontend.models.served import ServedModel
from frontend.routing.route import RouteRequest
from protocol.embedding import Embed
from protocol.errors import ContextOverflow, EngineFault, InvalidRequest, UnsupportedParameter
from protocol.tokens import TOKEN_ID_BYTES, count_tokens, pack_tokens

_TURN_TEXTS: Final = 16
"""So many short texts are tokenized in one turn of the loop; 50 to 400 µs each."""

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Vector: TypeAlias = "NDArray[np.float32]"


class Text(Struct, frozen=True):
    """A Text is one text ready for a worker: its token ids as packed u32, and `second_text_at` as
    in protocol.embedding.Embed.
    """

    token_ids: bytes
    second_text_at: int = 0


async def tokenize(
    request: VectorFields, served: ServedModel, inputs: Sequence[str | list[int]], param: str
) -> list[Text]:
    """Returns the tokens of each input, with the special tokens that the model's tokenizer puts
    around a text.

    Args:
        param: name of the field that they came from; of several the position is said.
    Raises:
        ContextOverflow: an input is too long and is not to be cut.
        InvalidRequest: it has no tokens, or one that the model does not.
    """
    length = TextLength(served, request.truncate_prompt_tokens)

    async def tokenized(index: int) -> Text:
        one, name = inputs[index], param if len(inputs) == 1 else f"{param}[{index}]"
        return Text(
            await length.encode(one, name) if isinstance(one, str) else length.take(one, name)
        )

    texts: list[Text] = []
    for start in range(0, len(inputs), _TURN_TEXTS):
        turn = range(start, min(start + _TURN_TEXTS, len(inputs)))
        if served.tokenized_by_workers is None:
            texts += [await tokenized(index) for index in turn]
        else:  # one at a time would be a way to a worker and back for each
            texts += await asyncio.gather(*map(tokenized, turn))
        await asyncio.sleep(0)
    return texts


async def tokenize_pairs(
    request: VectorFields,
    served: ServedModel,
    first: tuple[Sequence[str], str],
    second: tuple[Sequence[str], str],
) -> list[Text]:
    """Returns the tokens of each of the second texts behind its first one, or behind the only one,
    as a cross-encoder reads them.

    Args:
        first, second: texts and the name of their field.
    Raises:
        ContextOverflow: a pair is too long and is not to be cut, or what may be cut, its second
        text, is not enough.
        InvalidRequest: a text is not valid Unicode.
    """
    length = TextLength(served, request.truncate_prompt_tokens)
    texts: list[Text] = []
    for index, text in enumerate(second[0]):
        one = first[0][index if len(first[0]) > 1 else 0]
        texts.append(await length.encode_pair(one, text, f"{second[1]}[{index}]"))
        if index % _TURN_TEXTS == _TURN_TEXTS - 1:
            await asyncio.sleep(0)
    return texts


async def vectors_of(
    exchange: Exchange,
    launcher: Launcher,
    entry: ModelEntry,
    request: VectorFields,
    texts: Sequence[Text],
) -> tuple[list[Vector], int]:
    """Returns the vector of each text, in order, shape [dimensions], as the model makes it, and the
    sum of their tokens.

    Raises:
        ModelNotFound: no worker has the LoRA adapter that it asks for.
        MeshError: as Embeddings.run, and EngineFault for vectors that are none.
    """
    asked, adapter = (
        wishes(NO_WISHES, exchange.routing_headers),
        launcher.models.adapter(request.model, request.lora_path, entry),
    )
    requests: list[tuple[Embed, RouteRequest]] = []
    for index, text in enumerate(texts):
        route = RouteRequest(
            text.token_ids,
            lora_name=adapter,
            worker_id=asked.backend_instance_id,
            dp_rank=asked.dp_rank,
            session_id=asked.session_id,
            cacheable=False,
        )
        embed = Embed(
            # The first bears the exchange's id, so that one name finds a plain request in every
            # log.
            request_id=exchange.request_id if index == 0 else new_request_id(),
            model=entry.served.card.name,
            token_ids=text.token_ids,
            deadline_unix_ms=exchange.deadline_unix_ms,
            second_text_at=text.second_text_at,
            priority=priority_of(request.priority),
            lora_name=adapter,
            traceparent=exchange.traceparent,
            tracestate=exchange.tracestate,
        )
        requests.append((embed, route))
    exchange.prepared_at = perf_counter()
    exchange.work = work = launcher.embeddings(entry)
    embedded = await work.run(requests)
    import numpy as np  # noqa: PLC0415 - costs frontends of text nothing

    vectors = [np.frombuffer(one.vector, dtype="<f4") for one in embedded]
    if len({len(vector) for vector in vectors}) > 1 or not all(
        len(vector) and np.isfinite(vector).all() for vector in vectors
    ):
        raise EngineFault(
            "The engine made a vector of another length, or with a number that is none."
        )
    return vectors, sum(one.prompt_tokens for one in embedded)


class TextLength:
    """A TextLength knows how many tokens a text may have, and tokenizes texts, cutting those that
    are longer if the client wants that.

    Args:
        truncate: as the client says: None, -1 or a number of tokens.
    Raises:
        InvalidRequest: it asks for more than the model takes.
    """

    def __init__(self, served: ServedModel, truncate: int | None) -> None:
        self._served = served
        # SGLang asks for room for one more, although nothing is generated
        self._model_max = max(1, served.card.context_length - 1)
        self._cuts = truncate is not None
        if truncate is not None and (truncate == 0 or truncate > self._model_max):
            raise InvalidRequest(
                f"truncate_prompt_tokens must be -1 or 1 to {self._model_max}, got {truncate}.",
                param="truncate_prompt_tokens",
            )
        self.tokens_max = truncate if truncate is not None and truncate > 0 else self._model_max

    async def encode(self, text: str, name: str) -> bytes:
        """Returns the token ids of a text as packed u32, with special tokens.

        Raises:
            ContextOverflow: it is too long and is not to be cut.
            InvalidRequest: it has no tokens.
        """
        chars_max = self.tokens_max * CHARS_PER_TOKEN_MAX
        if len(text) > chars_max:
            if not self._cuts:
                raise self._too_long(f"at least {-(-len(text) // CHARS_PER_TOKEN_MAX)}", name)
            text = text[:chars_max]
        beginning = await overflowing_beginning(self._served, text, self.tokens_max)
        if beginning is not None:
            chars, tokens = beginning
            if not self._cuts:
                raise self._too_long(f"more than {tokens}", name)
            text = text[:chars]
        packed = await self._served.encode_off_loop(text, add_special_tokens=True)
        if count_tokens(packed) > self.tokens_max:
            if not self._cuts:
                raise self._too_long(str(count_tokens(packed)), name)
            plain = await self._served.encode_off_loop(text, add_special_tokens=False)
            return self._cut(packed, plain)
        if not packed:
            raise InvalidRequest(f"{name} has no tokens.", param=name)
        return packed

    async def encode_pair(self, first: str, second: str, name: str) -> Text:
        """Returns two texts as one Text, as a cross-encoder reads them; what may be cut is the
        second.

        Raises:
            ContextOverflow: they are too long and are not to be cut, or not by so much.
            UnsupportedParameter: the model's workers tokenize by themselves.
        """
        # what the workers' tokenizers make of a prompt, they do not make of two
        if self._served.pairs is None:
            raise UnsupportedParameter(
                (
                    "This model's workers tokenize by themselves, and pairs of texts only "
                    "frontends can."
                ),
                param="model",
            )
        chars_max = self.tokens_max * CHARS_PER_TOKEN_MAX
        chars = len(first) + len(second)
        if chars > chars_max and (not self._cuts or len(first) > chars_max):
            raise self._too_long(
                f"with the text before it at least {-(-chars // CHARS_PER_TOKEN_MAX)}", name
            )
        pair = await self._served.pairs.encode(first, second[:chars_max])
        fitting = pair.cut(self.tokens_max) if self._cuts else pair
        if fitting is None or len(fitting.token_ids) > self.tokens_max:
            raise self._too_long(f"with the text before it {len(pair.token_ids)}", name)
        return Text(
            pack_tokens(fitting.token_ids), fitting.types.index(1) if 1 in fitting.types else 0
        )

    def take(self, token_ids: list[int], name: str) -> bytes:
        """Returns token ids that the client made as packed u32.

        Raises:
            ContextOverflow: they are too many and are not to be cut.
            InvalidRequest: one is outside the model's vocabulary.
        """
        if len(token_ids) > self.tokens_max and not self._cuts:
            raise self._too_long(str(len(token_ids)), name)
        token_ids = token_ids[: self.tokens_max]
        vocab_size = self._served.card.vocab_size
        if max(token_ids) >= vocab_size:
            raise InvalidRequest(
                f"Token id {max(token_ids)} is outside the vocabulary of {vocab_size}.", param=name
            )
        return pack_tokens(token_ids)

    def _cut(self, packed: bytes, plain: bytes) -> bytes:
        """Keeps the beginning of the text and the special tokens around it."""
        around = len(packed) - len(plain)
        starts = (
            start
            for start in range(0, around + 1, TOKEN_ID_BYTES)
            if packed.startswith(plain, start)
        )
        start, kept = next(starts, None), self.tokens_max * TOKEN_ID_BYTES - around
        if start is None or kept <= 0:
            return packed[: self.tokens_max * TOKEN_ID_BYTES]
        return packed[: start + kept] + packed[start + len(plain) :]

    def _too_long(self, tokens: str, name: str) -> ContextOverflow:
        return ContextOverflow(
            f"This model takes at most {self._model_max} tokens at once. However, {name} has "
            f"{tokens} tokens."
            " Please shorten it, or set truncate_prompt_tokens to have it cut.",
            param=name,
        )
