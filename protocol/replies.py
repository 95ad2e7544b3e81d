"""Defines what a worker answers to a frontend's requests, questions and wishes for files.
Add-only.
"""

from typing import Annotated

from msgspec import Meta, Struct

from protocol.diffusion import Diffused
from protocol.embedding import Embedded
from protocol.encoding import Encoded
from protocol.fields import RequestId
from protocol.generation import Extras, Finished, joined_logprobs
from protocol.limits import MESSAGE_CHARS_MAX, STOP_CHARS_MAX, STOPS_MAX
from protocol.media import MEDIA_MAX, TokenCount


class Failed(Struct, frozen=True, tag="failed", array_like=True, omit_defaults=True):
    """A Failed says that a request cannot be completed by this worker; `code` names a leaf of
    `protocol.errors`.
    """

    code: str
    message: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)]
    param: str | None = None


class Delta(Struct, frozen=True, array_like=True, omit_defaults=True):
    """A Delta holds what one request gained in one engine step."""

    request_id: RequestId
    start: int
    """Is the position of the first of `token_ids` in the output, from 0: the number of output
    tokens sent before.
    """
    token_ids: bytes
    """Holds the new token ids as little-endian u32; it may be empty when `end` is set."""
    end: Finished | Failed | Embedded | Encoded | Diffused | None = None
    extras: Extras | None = None


def joined(first: Delta, second: Delta) -> Delta:
    """Returns two deltas of one request, one right behind the other, as one."""
    extras = first.extras or second.extras
    if first.extras is not None and second.extras is not None:
        extras = Extras(
            [*first.extras.parts, *second.extras.parts],
            joined_logprobs(first.extras.logprobs, second.extras.logprobs),
            first.extras.prompt_logprobs or second.extras.prompt_logprobs,
            first.extras.cached_tokens,
            second.extras.progress or first.extras.progress,
            first.extras.cached_below,
        )
    return Delta(
        first.request_id, first.start, first.token_ids + second.token_ids, second.end, extras
    )


class StepBatch(Struct, frozen=True, tag="step"):
    """A StepBatch holds the deltas of every request of one frontend that moved in one engine step:
    one message a step, not one a token.
    """

    deltas: list[Delta]


class Tokenized(Struct, frozen=True, tag="tokenized", omit_defaults=True):
    """A Tokenized answers a Tokenize with the prompt's tokens, or with why there are none."""

    query_id: RequestId
    token_ids: bytes = b""
    """Holds the prompt's token ids as little-endian u32."""
    stops: Annotated[
        list[Annotated[str, Meta(max_length=STOP_CHARS_MAX)]], Meta(max_length=STOPS_MAX)
    ] = []
    """Lists the strings at which the engine's template wants an answer to this chat to end."""
    image_tokens: Annotated[list[TokenCount], Meta(max_length=MEDIA_MAX)] = []
    """Counts the tokens of each picture that was asked about."""
    failed: Failed | None = None


class FileChunk(Struct, frozen=True, tag="file_chunk"):
    """A FileChunk is a piece of a model file; pieces come in order, and the last one ends at
    `size_bytes`.
    """

    sha256: str
    offset_bytes: int
    size_bytes: int
    data: bytes
