"""A worker that computes the KV cache of prompts and hands it over to the workers that generate."""

from typing import Final

from msgspec.structs import replace

from protocol.disaggregation import Bootstrap
from protocol.generation import Generate
from protocol.transport.sockets import is_local
from workers.engine import FAKE_BOOTSTRAP_HOST, EngineFacts
from workers.health.canary import CanaryFields, MakeCanary
from workers.kinds.arguments import Arguments
from workers.kinds.engines import STAGE_FLAG, sglang, simulated
from workers.kinds.generation import first_generation, short_generations
from workers.kinds.kind import Serving, WorkerKind


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


def _reachable(arguments: Arguments) -> tuple[str, ...]:
    """Returns what has a prefill engine's bootstrap server listen for other hosts, where frontends
    are on others and the arguments do not say where it listens.
    """
    if arguments.told("--host") or all(map(is_local, arguments.settings.frontend)):
        return ()
    return ("--host", "0.0.0.0")  # noqa: S104 - decode workers of any host fetch caches here


PREFILL: Final = WorkerKind(
    name="prefill",
    chosen_by=lambda arguments: arguments.told(STAGE_FLAG) == "prefill",
    engines={"sglang": sglang(also=_reachable), "sim": simulated(also=_reachable)},
    serving=PROMPTS,
)
