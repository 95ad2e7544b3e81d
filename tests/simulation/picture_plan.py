"""One world in eight has pictures in its prompts, and one worker or two that encode them for the
others, of which most fetch what was made and some see for themselves.

All else of such a world is that of its seed.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final, get_args

from protocol.media import PromptMedia
from protocol.tokens import pack_tokens, unpack_tokens
from tests.simulation.client import Asked
from tests.simulation.encoder import Role
from tests.simulation.model import IMAGE_TOKEN
from tests.simulation.pictures import DAMAGED
from tests.simulation.plan import (
    KINDS,
    MOVES_MAX,
    Fault,
    Kind,
    LinkFault,
    MediaFault,
    Plan,
    WorkerFault,
)
from tests.simulation.worker import WorkerSpec

EVERY: Final = 8
"""One round of all kinds in so many has pictures; another one has legs (leg_plan.py)."""

DIGESTS: Final = (*range(1, 7), 2**63 - 1)
"""So few that they come again."""

_TOKENS_MAX: Final = 11

_PICTURES_SHARE: Final = 0.7
"""Of the requests of such a world."""

_MEDIA_FAULTS: Final[dict[Kind, tuple[MediaFault, ...]]] = {
    "mild": ("media-part",),
    "crashes": ("media-part", "media-break"),
    "pauses": ("media-part",),
    "lossy": ("media-part", "media-break", "media-fill"),
    "overload": ("media-part", "media-break", "media-fill"),
    "everything": ("media-part", "media-break", "media-fill"),
}
_MEDIA_SHARE: Final = 0.3
_ENCODER_SHARE: Final = 0.4
"""Of the faults of a world, as many befall the way to what was made, or a worker that encodes."""

_BUSY: Final = frozenset(("hang", "fill", "stop", "drain"))
"""Most of what befalls one that encodes in these ways does so while it is asked."""

_ON_WORKERS: Final = frozenset((*get_args(WorkerFault), *get_args(LinkFault)))


def has_pictures(seed: int) -> bool:
    """Whether there are pictures in the world of a seed."""
    return seed // len(KINDS) % EVERY == EVERY - 6


def with_pictures(plan: Plan, random: Random) -> Plan:
    """A world, seeing."""
    workers = [
        replace(spec, role="text" if random.random() < 0.2 else "multimodal")
        for spec in plan.workers
    ]
    if plan.kind == "poison":  # may kill more than without pictures (check_poison)
        whole = replace(workers[0].settings, disaggregation_mode="null", disable_radix_cache=False)
        workers += [replace(workers[0], settings=whole)] * 2
    encoders = [_encoder(plan, random) for _ in range(random.choice((1, 1, 2)))]
    requests, damaged = _requests(random, plan)
    faults = _faults(random, plan, len(workers), len(encoders))
    return replace(
        plan,
        workers=[*workers, *encoders],
        requests=requests,
        damaged=damaged,
        faults=faults,
        sees=True,
        waits_out=random.random() < 0.04,
    )


def _encoder(plan: Plan, random: Random) -> WorkerSpec:
    """One of the workers, as one that encodes; in some worlds it comes late."""
    spec = random.choice(plan.workers)
    role: Role = "process" if random.random() < 0.3 else "encode"
    late = not plan.strict and random.random() < 0.3
    settings = replace(
        spec.settings,
        dp_size=1,
        disaggregation_mode="null",
        sim_encode_ms=random.choice((5.0, 20.0, 100.0)),
    )
    return replace(
        spec,
        role=role,
        settings=settings,
        cache_bytes=random.choice((0, 1_500, 1_000_000)),
        start_s=random.uniform(1.8, 4.0) if late else spec.start_s,
    )


def _requests(random: Random, plan: Plan) -> tuple[list[Asked], frozenset[int]]:
    spoilt = random.random() < 0.3
    requests: list[Asked] = []
    damaged: set[int] = set()
    for asked in plan.requests:
        if asked.twin_of is not None:
            first = requests[asked.twin_of]
            seeing = replace(asked, prompt=first.prompt, media=first.media)
        elif random.random() < _PICTURES_SHARE:
            digests = [random.choice(DIGESTS) for _ in range(random.choice((1, 1, 2, 3)))]
            if spoilt and random.random() < 0.3 and asked.number not in plan.poison | plan.faulty:
                digests[-1] = DAMAGED
                damaged.add(asked.number)
            seeing = _seeing(random, asked, digests)
        else:
            seeing = asked
        requests.append(seeing)
    return requests, frozenset(damaged)


def _seeing(random: Random, asked: Asked, digests: Sequence[int]) -> Asked:
    """The same request with pictures, as many as fit, in the place of some of its text."""
    prompt = list(unpack_tokens(asked.prompt))
    media: list[PromptMedia] = []
    at = 0
    for number, digest in enumerate(digests):
        tokens = 1 + digest % _TOKENS_MAX  # equal pictures take equally many
        at += random.randint(0, 4)
        if at + tokens > len(prompt):
            break
        prompt[at : at + tokens] = [IMAGE_TOKEN] * tokens
        data = digest.to_bytes(8, "little")
        media.append(PromptMedia("image", data, digest, at, tokens, f"messages.{number}"))
        at += tokens
    return replace(asked, prompt=pack_tokens(prompt), media=tuple(media))


def _faults(random: Random, plan: Plan, workers: int, encoders: int) -> list[Fault]:
    slots = range(workers, workers + encoders)
    if plan.kind == "rolling":
        return [
            *plan.faults,
            *(
                Fault(
                    at_s=random.uniform(1.6, 4.6),
                    kind="drain",
                    worker=slot,
                    frontend=0,
                    seconds=0.0,
                )
                for slot in slots
            ),
        ]
    among = _MEDIA_FAULTS.get(plan.kind, ())
    if not among:
        return plan.faults
    faults = plan.faults or [
        Fault(
            at_s=random.uniform(1.0, 3.0),
            kind="slow",
            worker=0,
            frontend=0,
            seconds=random.uniform(0.1, 3.0),
        )
        for _ in range(random.randint(0, MOVES_MAX))
    ]
    return [_fault(random, fault, random.choice(among), workers, slots) for fault in faults]


def _fault(random: Random, fault: Fault, kind: MediaFault, workers: int, slots: range) -> Fault:
    drawn, encoder = random.random(), random.choice(slots)
    if drawn < _MEDIA_SHARE:
        return replace(fault, kind=kind, worker=random.randrange(workers), encoder=encoder)
    if drawn < _MEDIA_SHARE + _ENCODER_SHARE and fault.kind in _ON_WORKERS:
        fault = replace(fault, worker=encoder)
        if fault.kind in _BUSY and random.random() < 0.7:
            fault = replace(fault, at_s=random.uniform(1.6, 2.6))
        return fault
    return fault
