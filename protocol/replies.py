"""Worker → frontend, about requests and files. Add-only."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from protocol.limits import MESSAGE_CHARS_MAX
from protocol.requests import Count, RequestId


class Finished(Struct, frozen=True, tag="finished", array_like=True, omit_defaults=True):
    """The engine is done with the request.

    `reason` is "stop" for an end-of-sequence or stop token, "length" for max_new_tokens or the context's end,
    "abort" when someone asked for it.
    """

    reason: Literal["stop", "length", "abort"]
    prompt_tokens: Count
    completion_tokens: Count
    cached_tokens: Count = 0
    """Prompt tokens that the engine found in its KV cache."""
    matched_token_id: int | None = None
    """The stop token that ended it; it is the last of the Delta's token_ids."""


class Failed(Struct, frozen=True, tag="failed", array_like=True, omit_defaults=True):
    """The request cannot be completed here. `code` names a leaf of `protocol.errors`."""

    code: str
    message: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)]
    param: str | None = None


class Delta(Struct, frozen=True, array_like=True, omit_defaults=True):
    """What one request gained in one engine step."""

    request_id: RequestId
    start: int
    """Position of the first of `token_ids` in the output, from 0: equals the number of output tokens sent before."""
    token_ids: bytes
    """Little-endian u32; may be empty when `end` is set."""
    end: Finished | Failed | None = None


class StepBatch(Struct, frozen=True, tag="step"):
    """Every request of one frontend that moved in one engine step: one message a step, not one a token."""

    deltas: list[Delta]


class FileChunk(Struct, frozen=True, tag="file_chunk"):
    """A piece of a model file, in order; the last one ends at `size_bytes`."""

    sha256: str
    offset_bytes: int
    size_bytes: int
    data: bytes
