"""Defines how a frontend has pictures of a prompt encoded by one worker for another, which fetches
what was made (protocol.media_plane). Add-only.
"""

from typing import Annotated

from msgspec import Meta, Struct

from protocol.fields import Count, Name, RequestId, TraceParent, TraceState
from protocol.media import MEDIA_MAX, PromptMedia


class Encode(Struct, frozen=True, tag="encode", omit_defaults=True):
    """An Encode asks a worker to encode the pictures of one prompt, and to keep what it makes until
    it is fetched.

    Exactly one Delta, without tokens and with an Encoded or Failed end, answers it, unless the
    worker dies.
    """

    request_id: RequestId
    """Is that of the prompt's Generate."""
    model: Name
    media: Annotated[list[PromptMedia], Meta(max_length=MEDIA_MAX)]
    deadline_unix_ms: int
    fetches: Annotated[int, Meta(ge=0, le=2)] = 1
    """Counts the workers that will fetch it, after which it need not be kept."""
    priority: int = 0
    routed_dp_rank: int | None = None
    lora_name: Name | None = None
    traceparent: TraceParent | None = None
    """Names the span of a trace that the work is part of, as W3C's header does."""
    tracestate: TraceState = ""
    """Holds what tracing systems say to each other beside it."""


class Encoded(Struct, frozen=True, tag="encoded", array_like=True, omit_defaults=True):
    """An Encoded ends an Encode: what was asked for can be fetched."""

    made: Count
    """Counts the pictures that were encoded for this request."""
    kept: Count = 0
    """Counts those that had been encoded before."""
    made_us: Count = 0
    """Says how many microseconds the batch took that the last of them was in."""
    made_bytes: Count = 0
    """Counts the bytes of all of them, to be fetched by each worker that needs them."""
