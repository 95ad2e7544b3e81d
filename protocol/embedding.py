"""Vectors of texts: what is asked of an engine, and what it answers. Add-only."""

from typing import Annotated

from msgspec import Meta, Struct

from protocol.fields import Count, Name, Positive, RequestId


class Embed(Struct, frozen=True, tag="embed", omit_defaults=True):
    """Make one text's vector.

    Exactly one Delta, without tokens and with an Embedded or Failed end, answers it, unless the
    worker dies.
    """

    request_id: RequestId
    model: Name
    token_ids: bytes
    """The text, little-endian u32."""
    deadline_unix_ms: int
    dimensions: Positive | None = None
    """For models that know shorter vectors (Matryoshka); None: the model's own."""
    second_text_at: Count = 0
    """Where the second of two texts begins, for a cross-encoder that tells them apart; 0 where
    there is one, or nothing is told.
    """
    priority: int = 0
    routed_dp_rank: int | None = None
    lora_name: Name | None = None
    traceparent: Annotated[str, Meta(max_length=64)] | None = None


class Embedded(Struct, frozen=True, tag="embedded", array_like=True):
    """The vector of a text."""

    vector: bytes
    """float32, little-endian, shape [dimensions]."""
    prompt_tokens: Count
