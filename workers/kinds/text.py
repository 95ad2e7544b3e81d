"""A text worker generates text: from the prompt to the end, or from a cache that another worker has
computed.
"""

from typing import Final

from protocol.generation import Generate
from workers.engine import EngineFacts
from workers.kinds.embedding import VECTORS
from workers.kinds.engines import sglang, simulated
from workers.kinds.generation import first_generation, short_generations
from workers.kinds.kind import Serving, WorkerKind
from workers.kinds.prefill import PROMPTS, first_leg, short_legs

GENERATIONS: Final = Serving(
    service="text",
    endpoint="dyn://kvmesh.backend.generate",
    takes=(Generate,),
    canaries=short_generations,
    first_work=first_generation,
)

CONTINUATIONS: Final = Serving(
    service="text",
    stage="decode",
    endpoint="dyn://kvmesh.backend.generate",
    takes=(Generate,),
    canaries=short_legs,
    computes_prompts=False,
    first_work=first_leg,
)

_BY_MODE: Final = {"null": GENERATIONS, "prefill": PROMPTS, "decode": CONTINUATIONS}
"""What a worker serves, by its engine's disaggregation_mode."""


def _found(facts: EngineFacts) -> Serving:
    """Returns what a started engine is for: vectors, where nobody said so, since SGLang knows the
    architectures that make nothing else; and a stage, since an engine's configuration file may say
    what its arguments do not.
    """
    return _BY_MODE[facts.disaggregation_mode] if facts.generates else VECTORS


TEXT: Final = WorkerKind(
    name="text",
    chosen_by=lambda _: True,  # whatever asks for nothing else
    engines={"sglang": sglang(), "sim": simulated()},
    serving=GENERATIONS,
    found=_found,
)
