"""The world of a seed, with all that some of them have: legs, pictures, or pictures made."""

from random import Random

from tests.simulation.drawing_plan import has_drawings, with_drawings
from tests.simulation.leg_plan import has_legs, with_legs
from tests.simulation.picture_plan import has_pictures, with_pictures
from tests.simulation.plan import Plan, plan_of_whole

_LEGS_SHARE = 0.25
"""Of the worlds with pictures: their requests run in two legs too."""


def plan_of(seed: int) -> Plan:
    """The world of a seed."""
    plan = plan_of_whole(seed)
    if has_legs(seed):
        return with_legs(plan, Random(seed + (1 << 41)))
    if has_pictures(seed):
        random = Random(seed + (1 << 42))
        plan = with_legs(plan, random) if random.random() < _LEGS_SHARE else plan
        return with_pictures(plan, random)
    if has_drawings(seed):
        return with_drawings(plan, Random(seed + (1 << 43)))
    return plan
