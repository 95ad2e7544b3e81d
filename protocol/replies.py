"""Worker → frontend, about requests and files. Add-only."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from protocol.limits import MESSAGE_CHARS_MAX, STOP_CHARS_MAX, STOPS_MAX
from protocol.requests import Count, RequestId

PARTS_MAX: Final = 2**16
"""Of one delta: a whole answer that is told at its end has one for every few characters."""


class Finished(Struct, frozen=True, tag="finished", array_like=True, omit_defaults=True):
    """The engine is done with the request.

    `reason` is "stop" for an end-of-sequence or stop token, "length" for max_new_tokens or the
    context's end, "abort" when someone asked for it.
    """

    reason: Literal["stop", "length", "abort"]
    prompt_tokens: Count
    completion_tokens: Count
    cached_tokens: Count = 0
    """Prompt tokens that the engine found in its KV cache."""
    matched_token_id: int | None = None
    """The stop token that ended it; it is the last of the Delta's token_ids."""
    reasoning_tokens: Count = 0
    """Of the completion's, those of its thinking, as the engine counts them."""
    matched_stop: str | None = None
    """The stop string or pattern that ended it, where the worker or its engine watched for it."""


class Failed(Struct, frozen=True, tag="failed", array_like=True, omit_defaults=True):
    """The request cannot be completed here. `code` names a leaf of `protocol.errors`."""

    code: str
    message: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)]
    param: str | None = None


class Embedded(Struct, frozen=True, tag="embedded", array_like=True):
    """The vector of a text."""

    vector: bytes
    """float32, little-endian, shape [dimensions]."""
    prompt_tokens: Count


class Content(Struct, frozen=True, tag="text", array_like=True):
    """Text of the answer."""

    text: str


class Reasoning(Struct, frozen=True, tag="think", array_like=True):
    """Text of the thinking before the answer."""

    text: str


class ToolCall(Struct, frozen=True, tag="call", array_like=True, omit_defaults=True):
    """A piece of a tool call.

    Its first piece bears id and name; the arguments of all pieces together are JSON.
    """

    index: int
    """Which call of the answer, from 0."""
    call_id: str = ""
    name: str = ""
    arguments: str = ""


Part = Content | Reasoning | ToolCall


class Logprobs(Struct, frozen=True, array_like=True, omit_defaults=True):
    """Log probabilities of n tokens.

    NaN where there is none, as for the first token of a prompt.
    """

    chosen: bytes
    """float32, little-endian, shape [n]."""
    top: int = 0
    """Alternatives of each token, k."""
    top_ids: bytes = b""
    """u32, shape [n, k], likeliest first."""
    top_values: bytes = b""
    """float32, shape [n, k]."""


class Extras(Struct, frozen=True, array_like=True, omit_defaults=True):
    """What comes beside the tokens where it was asked for."""

    parts: Annotated[list[Part], Meta(max_length=PARTS_MAX)] = []
    """What a Reading made of these tokens and those before them: all that has come of them so
    far.
    """
    logprobs: Logprobs | None = None
    """Of the Delta's tokens."""
    prompt_logprobs: Logprobs | None = None
    """Of the prompt's tokens, once."""
    cached_tokens: Count | None = None
    """With the first token, if there are any: as Finished has them, for an answer that its reader
    ends.
    """


class Delta(Struct, frozen=True, array_like=True, omit_defaults=True):
    """What one request gained in one engine step."""

    request_id: RequestId
    start: int
    """Position of the first of `token_ids` in the output, from 0: equals the number of output
    tokens sent before.
    """
    token_ids: bytes
    """Little-endian u32; may be empty when `end` is set."""
    end: Finished | Failed | Embedded | None = None
    extras: Extras | None = None


def joined(first: Delta, second: Delta) -> Delta:
    """Two deltas of one request, one right behind the other, as one."""
    extras = first.extras or second.extras
    if first.extras is not None and second.extras is not None:
        extras = Extras(
            [*first.extras.parts, *second.extras.parts],
            _joined_logprobs(first.extras.logprobs, second.extras.logprobs),
            first.extras.prompt_logprobs or second.extras.prompt_logprobs,
            first.extras.cached_tokens,
        )
    return Delta(
        first.request_id, first.start, first.token_ids + second.token_ids, second.end, extras
    )


def _joined_logprobs(first: Logprobs | None, second: Logprobs | None) -> Logprobs | None:
    if first is None or second is None:
        return first or second
    return Logprobs(
        first.chosen + second.chosen,
        first.top,
        first.top_ids + second.top_ids,
        first.top_values + second.top_values,
    )


class StepBatch(Struct, frozen=True, tag="step"):
    """Every request of one frontend that moved in one engine step: one message a step, not one a
    token.
    """

    deltas: list[Delta]


class Tokenized(Struct, frozen=True, tag="tokenized", omit_defaults=True):
    """The answer to a Tokenize."""

    query_id: RequestId
    token_ids: bytes = b""
    """The prompt, little-endian u32."""
    stops: Annotated[
        list[Annotated[str, Meta(max_length=STOP_CHARS_MAX)]], Meta(max_length=STOPS_MAX)
    ] = []
    """Strings at which the engine's template wants an answer to this chat to end."""
    failed: Failed | None = None


class FileChunk(Struct, frozen=True, tag="file_chunk"):
    """A piece of a model file, in order; the last one ends at `size_bytes`."""

    sha256: str
    offset_bytes: int
    size_bytes: int
    data: bytes
