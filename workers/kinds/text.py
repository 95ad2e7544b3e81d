"""A text worker generates text, from prompt to end."""

import secrets
from typing import Final

from protocol.generation import Generate, Sampling
from protocol.tokens import pack_tokens
from workers.engine import NO_DEADLINE_UNIX_MS, EngineFacts
from workers.health.canary import CanaryFields, MakeCanary
from workers.kinds.embedding import VECTORS
from workers.kinds.engines import sglang, simulated
from workers.kinds.kind import Serving, WorkerKind

_FIRST_TOKENS: Final = 8
"""Each of an engine's first requests generates this many tokens."""


def _short_generations(facts: EngineFacts, fields: CanaryFields) -> MakeCanary:
    """Returns a maker of canaries with a prompt of one token and one token more, unless the fields
    say otherwise.
    """
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


def _first_generation(facts: EngineFacts, tokens: int, dp_rank: int | None) -> Generate:
    return Generate(
        secrets.token_hex(16),
        facts.card.name,
        pack_tokens([1] * tokens),
        Sampling(_FIRST_TOKENS, temperature=0.0, ignore_eos=True),
        NO_DEADLINE_UNIX_MS,
        routed_dp_rank=dp_rank,
    )


GENERATIONS: Final = Serving(
    service="text",
    endpoint="dyn://kvmesh.backend.generate",
    takes=(Generate,),
    canaries=_short_generations,
    first_work=_first_generation,
)


def _found(facts: EngineFacts) -> Serving:
    """Returns the service that a started engine is for: vectors, where nobody said so, since SGLang
    knows the architectures that make nothing else, and an engine's configuration file may say what
    its arguments do not.
    """
    return GENERATIONS if facts.generates else VECTORS


TEXT: Final = WorkerKind(
    name="text",
    chosen_by=lambda _: True,  # whatever asks for nothing else
    engines={"sglang": sglang(), "sim": simulated()},
    serving=GENERATIONS,
    found=_found,
)
