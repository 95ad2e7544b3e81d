"""A worker that computes the KV cache of prompts and hands it over to the workers that generate."""

from typing import Final

from msgspec.structs import replace

from protocol.disaggregation import Bootstrap
from protocol.generation import Generate
from workers.engine import FAKE_BOOTSTRAP_HOST, EngineFacts
from workers.health.canary import CanaryFields, MakeCanary
from workers.kinds.engines import sglang, simulated
from workers.kinds.generation import first_generation, short_generations
from workers.kinds.kind import Serving, WorkerKind

STAGE_FLAG: Final = "--disaggregation-mode"
"""SGLang's, and the simulated engine's."""


def handed_to_nobody(request: Generate) -> Generate:
    """Returns the request as a leg that meets no other: its cache is computed, or made up, and
    dropped.
    """
    rank = request.routed_dp_rank or 0
    return replace(request, bootstrap=Bootstrap(FAKE_BOOTSTRAP_HOST, 1, rank + 1, rank))


def short_legs(facts: EngineFacts, fields: CanaryFields) -> MakeCanary:
    """Returns what makes canaries of a worker that runs legs."""
    make = short_generations(facts, fields)
    return lambda request_id, rank: handed_to_nobody(make(request_id, rank))


def first_leg(facts: EngineFacts, tokens: int, dp_rank: int | None) -> Generate:
    """Returns one of the first requests of a worker that runs legs."""
    return handed_to_nobody(first_generation(facts, tokens, dp_rank))


PROMPTS: Final = Serving(
    service="text",
    stage="prefill",
    endpoint="dyn://kvmesh.prefill.generate",
    takes=(Generate,),
    canaries=short_legs,
    first_work=first_leg,
)

PREFILL: Final = WorkerKind(
    name="prefill",
    chosen_by=lambda arguments: arguments.told(STAGE_FLAG) == "prefill",
    engines={"sglang": sglang(), "sim": simulated()},
    serving=PROMPTS,
)
