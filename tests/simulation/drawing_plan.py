"""One world in eight makes pictures, and nothing else: each worker has a generator, and each
request is for pictures.

All else of such a world is that of its seed.
"""

from dataclasses import replace
from random import Random
from typing import Final

from protocol.generation import Sampling
from tests.simulation.client import MODEL, Asked
from tests.simulation.drawing import SIDE_PIXELS, Drawn
from tests.simulation.plan import KINDS, Plan
from tests.simulation.worker import WorkerSpec
from workers.sim.faults import SEED_FAULTS

EVERY: Final = 8
"""One round of all kinds in so many makes pictures."""

_STEP_MS: Final = (4.0, 8.0, 16.0)
_MUTE: Final = next(seed for seed, fault in SEED_FAULTS.items() if fault == "mute")
_ERROR: Final = next(seed for seed, fault in SEED_FAULTS.items() if fault == "error")


def has_drawings(seed: int) -> bool:
    """Whether pictures are made in the world of a seed."""
    return seed // len(KINDS) % EVERY == EVERY - 2


def with_drawings(plan: Plan, random: Random) -> Plan:
    """A world, drawing."""
    return replace(
        plan,
        draws=True,
        workers=[_drawing(spec, random) for spec in plan.workers],
        requests=_requests(plan, random),
    )


def _drawing(spec: WorkerSpec, random: Random) -> WorkerSpec:
    megapixels = SIDE_PIXELS * SIDE_PIXELS / 1e6
    settings = replace(
        spec.settings,
        served_model_name=MODEL,
        dp_size=1,
        sim_speedup=1.0,
        sim_step_ms=random.choice(_STEP_MS) / megapixels,
    )
    return replace(spec, role="draw", settings=settings)


def _requests(plan: Plan, random: Random) -> list[Asked]:
    requests: list[Asked] = []
    for asked in plan.requests:
        drawn = Drawn(
            outputs=random.choice((1, 1, 1, 2, 3)),
            steps=random.choice((1, 4, random.randint(1, 20))),
            previews=random.choice((0, 0, 0, 2)),
            job=random.random() < 0.3 and asked.number not in plan.poison | plan.faulty,
        )
        sampling = asked.sampling
        if sampling.seed == _MUTE:  # which would keep all others waiting
            sampling = Sampling(sampling.max_new_tokens, seed=_ERROR)
        if asked.twin_of is not None:
            drawn = requests[asked.twin_of].drawn or drawn
        requests.append(replace(asked, n=1, stops=(), sampling=sampling, drawn=drawn))
    return requests
