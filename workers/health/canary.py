"""A canary is the smallest piece of work of a worker, sent through the engine like anybody's.

What it is, is part of the worker's kind (workers.kinds).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from protocol.diffusion import FRAMES_MAX, STEPS_MAX
from protocol.process.start_error import StartError
from protocol.requests import Work
from workers.engine import EngineFacts
from workers.health.payload_forms import at_root

PROMPT_TOKENS_MAX: Final = 1_024
"""A canary's own prompt has at most this many tokens: more would be load, not a health check."""

MakeCanary = Callable[[str, int], Work]
"""A MakeCanary makes a canary request from a request id and a data-parallel rank."""


class CanaryFields(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """CanaryFields are what the setting health_check_payload may change of a canary: its tokens and
    how they are chosen, or the first thing that a worker makes which makes pictures or videos (0
    and None: the usual).
    """

    token_ids: Annotated[
        tuple[Annotated[int, Meta(ge=0, lt=2**32)], ...],
        Meta(min_length=1, max_length=PROMPT_TOKENS_MAX),
    ] = (1,)
    max_new_tokens: Annotated[int, Meta(ge=1, le=1_024)] = 1
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.0
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    top_k: Annotated[int, Meta(ge=-1)] = -1
    ignore_eos: bool = False
    prompt: Annotated[str, Meta(max_length=PROMPT_TOKENS_MAX)] = "test"
    size: Annotated[str, Meta(pattern="^([1-9][0-9]{0,4}x[1-9][0-9]{0,4})?$")] = ""
    num_inference_steps: Annotated[int, Meta(ge=1, le=STEPS_MAX)] = 1
    guidance_scale: float | None = None
    num_frames: Annotated[int, Meta(ge=0, le=FRAMES_MAX)] = 0
    fps: Annotated[int, Meta(ge=0, le=240)] = 0


_MAKING: Final = frozenset(
    ("prompt", "size", "num_inference_steps", "guidance_scale", "num_frames", "fps")
)
"""Fields of workers that make pictures or videos; all others are of those that take tokens."""

CanariesOf = Callable[[EngineFacts, CanaryFields], MakeCanary]
"""A CanariesOf returns how a started engine's canaries are made, from what the engine turned out to
be and the fields of the setting.
"""


def read_canary_fields(payload: str | None) -> CanaryFields:
    """Reads the setting health_check_payload, which is JSON, or @ and the name of a file with JSON:
    our fields, or the reference product's (workers.health.payload_forms).

    Raises:
        StartError: it is not readable, no JSON, or names what a canary does not have.
    """
    if payload is None:
        return CanaryFields()
    try:
        text = Path(payload[1:]).read_bytes() if payload.startswith("@") else payload.encode()
        fields = at_root(msgspec.json.decode(text, type=dict[str, Any]))
        return msgspec.convert(fields, CanaryFields)
    except (OSError, ValueError) as error:  # those of msgspec are ValueErrors
        raise StartError(f"--health-check-payload: {error}") from None


def canary_maker(canaries: CanariesOf, facts: EngineFacts, fields: CanaryFields) -> MakeCanary:
    """Returns how a worker whose kind makes such canaries asks its engine for a sign of life.

    Raises:
        StartError: the prompt has a token that the model does not, or a field is for other workers.
    """
    makes = facts.outputs is not None
    usual = CanaryFields()
    for name in CanaryFields.__struct_fields__:
        if getattr(fields, name) != getattr(usual, name) and makes != (name in _MAKING):
            raise StartError(f"--health-check-payload: {name} is for other types of worker")
    if not makes and max(fields.token_ids) >= facts.card.vocab_size:
        raise StartError(
            f"--health-check-payload: token {max(fields.token_ids)} is beyond the vocabulary "
            f"of {facts.card.vocab_size}"
        )
    return canaries(facts, fields)
