"""Two of vLLM's fields ask an answer for its tokens: return_token_ids and prompt_logprobs."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from frontend.api.answers.logprobs import TokenTexts, scores
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.http.json_slices import Rows
from frontend.inflight.choice import Choice
from protocol.generation import Logprobs
from protocol.tokens import unpack_tokens

_encode = msgspec.json.Encoder().encode


def prompt_fields(
    request: ChatCompletionRequest | CompletionRequest,
    prompt: bytes,
    of_prompt: Logprobs | None,
    texts: TokenTexts,
) -> dict[str, Any]:
    """Returns the fields that were asked about the prompt (packed u32): of a chat's answer, or of a
    completion's choice.
    """
    fields: dict[str, Any] = {}
    if request.return_token_ids:
        fields["prompt_token_ids"] = list(unpack_tokens(prompt))
    if request.prompt_logprobs is not None and of_prompt is not None:
        fields["prompt_logprobs"] = Rows(
            partial(_prompt_rows, prompt, of_prompt, texts, request.prompt_logprobs)
        )
    return fields


def choice_fields(
    request: ChatCompletionRequest | CompletionRequest, choice: Choice
) -> dict[str, Any]:
    """Returns the fields that were asked about the tokens of a whole choice."""
    return {"token_ids": list(unpack_tokens(choice.output))} if request.return_token_ids else {}


class StreamedIds:
    """A StreamedIds writes the token ids of a stream's chunks, as JSON to be put into its choices
    behind their log probabilities.

    Args:
        prompts: of each choice, packed u32, told in its first chunk; none where they are told
        elsewhere.
    """

    def __init__(self, prompts: Sequence[bytes] = ()) -> None:
        self._prompts = prompts
        self._told: dict[int, int] = {}
        """Counts, by choice, the bytes of token ids that were told so far."""

    def fragment(self, choice: Choice) -> bytes:
        """Returns the JSON of the tokens that came since the last chunk of the choice."""
        told = self._told.get(choice.index)
        new = choice.output_behind(told or 0)
        self._told[choice.index] = (told or 0) + len(new)
        fragment = b',"token_ids":' + _ids(new)
        return (
            fragment
            if told is not None or not self._prompts
            else fragment + b',"prompt_token_ids":' + _ids(self._prompts[choice.index])
        )


def with_prompt_ids(chunk: bytes, prompt: bytes) -> bytes:
    """Returns a chat's first chunk with the prompt's ids (packed u32) beside its choices."""
    return chunk.replace(b"data: {", b'data: {"prompt_token_ids":' + _ids(prompt) + b",", 1)


def _ids(packed: bytes) -> bytes:
    return _encode(list(unpack_tokens(packed)))


def _prompt_rows(
    prompt: bytes, of_prompt: Logprobs, texts: TokenTexts, top: int
) -> Iterator[dict[str, Any] | None]:
    """Yields, token by token, an object by id: the `top` likeliest and the prompt's own, whose rank
    is only known if it is one of these.
    """
    for score in scores(prompt, [of_prompt]):
        if score.logprob is None:
            yield None
            continue
        ranked = {
            token_id: (rank, logprob)
            for rank, (token_id, logprob) in enumerate(score.top[:top], start=1)
        }
        ranked.setdefault(score.token_id, (None, score.logprob))  # pyright: ignore[reportArgumentType]
        yield {
            str(token_id): {"logprob": logprob, "rank": rank, "decoded_token": texts.text(token_id)}
            for token_id, (rank, logprob) in ranked.items()
        }
