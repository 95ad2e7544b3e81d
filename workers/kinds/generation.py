"""The smallest pieces of work of workers that run prompts are made here."""

import secrets
from collections.abc import Callable
from typing import Final

from protocol.generation import Generate, Sampling
from protocol.tokens import pack_tokens
from workers.engine import NO_DEADLINE_UNIX_MS, EngineFacts
from workers.health.canary import CanaryFields

_FIRST_TOKENS: Final = 8
"""Each of an engine's first requests generates this many tokens."""


def short_generations(facts: EngineFacts, fields: CanaryFields) -> Callable[[str, int], Generate]:
    """Returns what makes prompts of one token and one token more, unless told otherwise."""
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


def first_generation(facts: EngineFacts, tokens: int, dp_rank: int | None) -> Generate:
    """Returns a prompt of so many tokens, a few to follow, which an engine is warmed up with."""
    return Generate(
        secrets.token_hex(16),
        facts.card.name,
        pack_tokens([1] * tokens),
        Sampling(_FIRST_TOKENS, temperature=0.0, ignore_eos=True),
        NO_DEADLINE_UNIX_MS,
        routed_dp_rank=dp_rank,
    )
