"""Defines how a frontend asks a worker for the vector of a text, and what the vector comes in.
Add-only.
"""

from msgspec import Struct

from protocol.fields import Count, Name, Positive, RequestId, TraceParent, TraceState


class Embed(Struct, frozen=True, tag="embed", omit_defaults=True):
    """An Embed asks a worker for the vector of one text, or for the score of a pair of texts.

    Exactly one Delta, without tokens and with an Embedded or Failed end, answers it, unless the
    worker dies.
    """

    request_id: RequestId
    model: Name
    token_ids: bytes
    """Holds the text's token ids as little-endian u32."""
    deadline_unix_ms: int
    dimensions: Positive | None = None
    """Says how long a vector to make where the model knows shorter ones (Matryoshka); None asks for
    the model's own length.
    """
    second_text_at: Count = 0
    """Says at which token the second of two texts begins, for a cross-encoder that tells them
    apart; it is 0 where there is one text, or where the model is told nothing.
    """
    priority: int = 0
    routed_dp_rank: int | None = None
    lora_name: Name | None = None
    traceparent: TraceParent | None = None
    """Names the span of a trace that the work is part of, as W3C's header does."""
    tracestate: TraceState = ""
    """Holds what tracing systems say to each other beside it."""


class Embedded(Struct, frozen=True, tag="embedded", array_like=True):
    """An Embedded ends a request with the vector of its text."""

    vector: bytes
    """Holds the vector as little-endian float32, shape [dimensions]."""
    prompt_tokens: Count
