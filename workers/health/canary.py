"""Canary requests: the smallest piece of work of each kind of worker, sent through the engine like
anybody's.

A kind of worker that comes later registers how its canary is made with one line of CANARIES.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from protocol.embedding import Embed
from protocol.generation import Generate, Sampling
from protocol.membership import Service
from protocol.process.start_error import StartError
from protocol.requests import Work
from protocol.tokens import pack_tokens
from workers.engine import NO_DEADLINE_UNIX_MS, EngineFacts

PROMPT_TOKENS_MAX: Final = 1_024
"""Of a canary's own prompt: more would be load, not a health check."""

MakeCanary = Callable[[str, int], Work]
"""From a request id and a data-parallel rank."""


class CanaryFields(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the setting health_check_payload may change."""

    token_ids: Annotated[
        tuple[Annotated[int, Meta(ge=0, lt=2**32)], ...],
        Meta(min_length=1, max_length=PROMPT_TOKENS_MAX),
    ] = (1,)
    max_new_tokens: Annotated[int, Meta(ge=1, le=1_024)] = 1
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.0
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    top_k: Annotated[int, Meta(ge=-1)] = -1
    ignore_eos: bool = False


def read_canary_fields(payload: str | None) -> CanaryFields:
    """Read the setting health_check_payload: JSON, or @ and the name of a file with JSON.

    Raises:
        StartError: it is not readable, no JSON, or names what a canary does not have.
    """
    if payload is None:
        return CanaryFields()
    try:
        text = Path(payload[1:]).read_bytes() if payload.startswith("@") else payload.encode()
        return msgspec.json.decode(text, type=CanaryFields)
    except (OSError, msgspec.DecodeError) as error:
        raise StartError(f"--health-check-payload: {error}") from None


def canary_maker(facts: EngineFacts, fields: CanaryFields) -> MakeCanary:
    """How a worker asks its engine for a sign of life; what the engine is for decides it.

    Raises:
        StartError: the prompt has a token that the model does not.
    """
    if max(fields.token_ids) >= facts.card.vocab_size:
        raise StartError(
            f"--health-check-payload: token {max(fields.token_ids)} is beyond the vocabulary "
            f"of {facts.card.vocab_size}"
        )
    return CANARIES[facts.service](facts, fields)


def _short_generation(facts: EngineFacts, fields: CanaryFields) -> MakeCanary:
    """A prompt of one token and one token more, unless told otherwise."""
    sampling = Sampling(
        max_new_tokens=fields.max_new_tokens,
        temperature=fields.temperature,
        top_p=fields.top_p,
        top_k=fields.top_k,
        ignore_eos=fields.ignore_eos,
    )
    prompt = pack_tokens(fields.token_ids)

    def make(request_id: str, rank: int) -> Generate:
        return Generate(
            request_id, facts.card.name, prompt, sampling, NO_DEADLINE_UNIX_MS, routed_dp_rank=rank
        )

    return make


def _short_text(facts: EngineFacts, fields: CanaryFields) -> MakeCanary:
    """A text of one token, unless told otherwise."""
    text = pack_tokens(fields.token_ids)

    def make(request_id: str, rank: int) -> Embed:
        return Embed(request_id, facts.card.name, text, NO_DEADLINE_UNIX_MS, routed_dp_rank=rank)

    return make


CANARIES: Final[dict[Service, Callable[[EngineFacts, CanaryFields], MakeCanary]]] = {
    "text": _short_generation,
    "embedding": _short_text,
}
"""What a worker serves → how its canaries are made."""
