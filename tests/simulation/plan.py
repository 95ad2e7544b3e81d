"""What a seed decides: how large the world is, who asks what and when, and what befalls whom."""

from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal, get_args

from frontend.routing.router import RouterMode
from frontend.routing.waiting_memory import waiting_bytes
from protocol.generation import Sampling
from protocol.tokens import pack_tokens
from tests.simulation.client import Asked
from tests.simulation.frontend import FrontendSpec, frontend_settings
from tests.simulation.model import OUTPUT_TOKENS_MEAN
from tests.simulation.network import Weather
from tests.simulation.worker import WorkerSpec
from workers.sim.faults import SEED_FAULTS
from workers.sim.settings import SimSettings

Kind = Literal[
    "calm", "mild", "crashes", "lossy", "poison", "overload", "everything", "pauses", "rolling"
]
KINDS: Final[tuple[Kind, ...]] = (
    "calm",
    "mild",
    "crashes",
    "lossy",
    "poison",
    "overload",
    "everything",
    "pauses",
    "rolling",
)

STRICT: Final[frozenset[Kind]] = frozenset(
    ("calm", "mild", "crashes", "poison", "pauses", "rolling")
)
"""Nothing is lost between processes, one worker at least stays as it is, and there is room for all:
no request may fail. Where there are pauses, that worker is the one that stands still, while others
end: then nobody serves for a while, and what was being served waits.
"""

UNMOVED: Final[frozenset[Kind]] = frozenset(("calm", "mild", "rolling"))
"""What befalls processes and connections is over before anybody may take a worker for lost, or they
are asked to leave and have the time for it: no request is moved.
"""

SETTLES_S_MAX: Final[dict[Kind, float]] = {
    "calm": 0.6,
    "mild": 0.6,
    "overload": 0.6,
    "crashes": 4.0,
    "poison": 4.0,
    "pauses": 4.0,
    "rolling": 4.0,
    "lossy": 9.0,
    "everything": 9.0,
}
"""From the last answer until all is at rest and everybody serves: aborts arrive; where workers were
started anew, their namesakes' silence and the pause after a refusal pass; where messages were late,
what their loss led to is mended.
"""

HURRIED_S: Final = 20.0
"""Who has at least so long does not miss its deadline in a strict world."""

MOVES_MAX: Final = 3

PAUSE_S_MAX: Final = 3.0
"""Several in a row may look like one to a frontend, and are still over before it gives the worker
up (frontend/fleet/missed.py).
"""

DNS_OUT_S: Final = 5.5
"""Longer than from one look at the addresses to the next."""

_WITHOUT_DNS: Final[frozenset[Kind]] = frozenset(("calm", "mild", "lossy", "everything"))

WorkerFault = Literal["kill", "vanish", "stop", "drain", "hurry", "hang", "die", "slow"]
LinkFault = Literal["break", "part", "fill"]
FrontendFault = Literal["frontend-kill", "frontend-vanish", "frontend-stop", "frontend-drain"]
LegFault = Literal[
    "cache-lost",
    "cache-stalled",
    "caches-lost",
    "caches-stalled",
    "legs-part",
    "legs-break",
    "sender-killed",
    "sender-stopped",
    "taker-killed",
]

MediaFault = Literal["media-part", "media-break", "media-fill"]

_FAULT_OF_SEED: Final = {fault: seed for seed, fault in SEED_FAULTS.items()}
POISON_SEEDS: Final = frozenset(
    _FAULT_OF_SEED[fault] for fault in ("crash", "engine-death", "hang-loop")
)
_PROMPT_TOKENS_MAX: Final = 200
_LONG_TOKENS: Final = 300
"""Of answers that nobody stays for: they would run on for seconds.

With the longest prompt they fit the smallest cache.
"""
_STOPS: Final = (" the", "er", "th", " a", "s ")
_BEGIN_S: Final = 1.6
"""By then the workers have been taken in."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """At `at_s` something befalls a worker, a frontend or what lies between them, for `seconds`
    where that means anything; of legs, the caches of the worker `prefill`, or what lies between it
    and `worker`; of pictures, what lies between `worker` and the worker `encoder`.
    """

    at_s: float
    kind: WorkerFault | LinkFault | FrontendFault | LegFault | MediaFault
    worker: int
    frontend: int
    seconds: float
    prefill: int = 0
    encoder: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A world.

    `poison` names the requests that kill workers; `faulty` those that an engine fails or never
    answers. With `two_ways` each frontend has two addresses. From `dns_out_at_s` on, for DNS_OUT_S,
    no name has addresses.
    """

    seed: int
    kind: Kind
    frontends: list[FrontendSpec]
    workers: list[WorkerSpec]
    weather: Weather
    requests: list[Asked]
    faults: list[Fault]
    poison: frozenset[int]
    faulty: frozenset[int]
    two_ways: bool
    dns_out_at_s: float | None
    legs: bool = False
    """Some of the workers run a leg of each request (tests/simulation/leg_plan.py)."""
    sees: bool = False
    """Some of the requests have pictures, and workers that encode them stand beside the others
    (tests/simulation/picture_plan.py).
    """
    damaged: frozenset[int] = frozenset()
    """Requests with a picture that no encoder can read."""
    draws: bool = False
    """Pictures are made, and nothing else (tests/simulation/drawing_plan.py)."""
    waits_out: bool = False
    """At its end one waits until encoders have forgotten what nobody fetched."""

    @property
    def strict(self) -> bool:
        """Whether no request may fail but those that were made to."""
        return self.kind in STRICT


def plan_of_whole(seed: int) -> Plan:
    """The world of a seed, but for the legs that requests may run in, and for pictures."""
    kind = KINDS[seed % len(KINDS)]
    random = Random(seed)
    frontends = [_frontend(random, kind) for _ in range(random.choice((1, 1, 2)))]
    asked = len(frontends)
    if random.random() < 0.1:  # one that comes late, and that nobody asks
        frontends.append(replace(_frontend(random, kind), starts_s=random.uniform(0.5, 4.0)))
    workers = _workers(random, kind)
    requests, poison, faulty = _requests(random, kind, asked)
    return Plan(
        seed=seed,
        kind=kind,
        frontends=frontends,
        workers=workers,
        weather=_weather(random, kind),
        requests=requests,
        faults=_faults(random, kind, len(workers), asked),
        poison=poison,
        faulty=faulty,
        two_ways=random.random() < 0.1,
        dns_out_at_s=random.uniform(1.0, 3.0)
        if kind in _WITHOUT_DNS and random.random() < 0.1
        else None,
    )


def _frontend(random: Random, kind: Kind) -> FrontendSpec:
    crowded = kind in ("overload", "everything") and random.random() < 0.7
    sheds = crowded and random.random() < 0.5
    patient = kind in STRICT
    settings = frontend_settings(
        random.choice(get_args(RouterMode)),
        moves_max=random.randint(0, MOVES_MAX)
        if not patient and random.random() < 0.3
        else MOVES_MAX,
        shed_wait_s=random.uniform(0.2, 2.0) if sheds else None,
        grace_s=random.choice((0.0, 0.5)),
        finish_s=30 if patient else random.choice((0, 1, 30)),
    )
    queued = random.randint(0, 6) if crowded else 1_000
    return FrontendSpec(settings=settings, queue_bytes=queued * waiting_bytes(_PROMPT_TOKENS_MAX))


def _workers(random: Random, kind: Kind) -> list[WorkerSpec]:
    count = random.randint(1 if kind in ("calm", "overload") else 3 if kind == "poison" else 2, 4)
    speedup = random.choice((1.0, 0.5, 0.2))
    return [
        _worker(
            random,
            speedup,
            stingy=kind not in STRICT and random.random() < 0.3,
            drain_s_max=30.0 if kind == "rolling" else random.choice((0.1, 1.0, 30.0)),
        )
        for _ in range(count)
    ]


def _worker(random: Random, speedup: float, *, stingy: bool, drain_s_max: float) -> WorkerSpec:
    running_max = random.choice((1, 2, 4, 16))
    dp_size = random.choice((1, 1, 1, 2, 3))
    settings = SimSettings(
        dp_size=dp_size,
        max_running_requests=running_max,
        max_total_tokens=random.choice((512, 1_024, 16_384)),
        chunked_prefill_size=random.choice((64, 8_192)),
        schedule_conservativeness=random.choice((0.0, 1.0)),
        stream_interval=random.choice((1, 1, 1, 5)),
        sim_speedup=speedup,
        sim_output_tokens_mean=OUTPUT_TOKENS_MEAN,
        sim_request_faults=True,
    )
    return WorkerSpec(
        settings=settings,
        credit_requests=random.randint(1, 4)
        if stingy
        else 2 * running_max * dp_size + random.randint(0, 4),
        drain_s_max=drain_s_max,
        start_s=random.uniform(0.0, 0.3),
        clock_ahead_s=random.choice((0.0, 0.0, -30.0, 45.0)),
    )


def _weather(random: Random, kind: Kind) -> Weather:
    if kind not in ("lossy", "everything"):
        return Weather(delay_s=(0.0005, random.choice((0.001, 0.02))))
    share = random.choice((0.0, 0.002, 0.02))
    return Weather(
        delay_s=(0.0005, random.choice((0.001, 0.05))),
        drop=random.uniform(0.0, share),
        duplicate=random.uniform(0.0, share * 2),
        reorder=random.uniform(0.0, share * 2),
        late_s=random.choice((0.01, 0.3, 2.0)),
        queue=random.choice((4, 16, 10_000)),
    )


def _requests(
    random: Random, kind: Kind, frontends: int
) -> tuple[list[Asked], frozenset[int], frozenset[int]]:
    count = random.randint(25, 40) if kind == "overload" else random.randint(6, 16)
    span_s = 1.0 if kind == "overload" else random.choice((0.2, 3.0))
    strict = kind in STRICT
    stems = [
        [random.randrange(2_000) for _ in range(random.randint(1, _PROMPT_TOKENS_MAX // 2))]
        for _ in range(3)
    ]
    requests: list[Asked] = []
    poison: set[int] = set()
    faulty: set[int] = set()
    for number in range(count):
        prompt = random.choice(stems) + [
            random.randrange(2_000) for _ in range(random.randint(1, _PROMPT_TOKENS_MAX // 2))
        ]
        requests.append(
            _request(
                random,
                number,
                frontends,
                _BEGIN_S + random.uniform(0.0, span_s),
                prompt,
                hurried=not strict,
            )
        )
    if kind == "poison" or (kind == "everything" and random.random() < 0.3):
        _make_poison(random, requests, poison, hurried=not strict)
    elif kind in ("lossy", "overload", "everything", "crashes") and random.random() < 0.3:
        number = random.randrange(count)
        fault = random.choice(("error", "mute"))
        seed = _FAULT_OF_SEED[fault]
        timeout_s = 2.0 if fault == "mute" else requests[number].timeout_s
        requests[number] = replace(
            requests[number],
            n=1,
            sampling=Sampling(requests[number].sampling.max_new_tokens, seed=seed),
            timeout_s=timeout_s,
        )
        faulty.add(number)
    return requests, frozenset(poison), frozenset(faulty)


def _request(
    random: Random, number: int, frontends: int, at_s: float, prompt: list[int], *, hurried: bool
) -> Asked:
    max_new = random.choice((1, random.randint(1, 12), random.randint(10, 60)))
    in_a_hurry = random.random() < (0.3 if hurried else 0.08)
    leaves_after_s = random.uniform(0.0, 1.0) if random.random() < 0.15 else None
    if (in_a_hurry or leaves_after_s is not None) and random.random() < 0.5:
        max_new = _LONG_TOKENS
    return Asked(
        number=number,
        frontend=random.randrange(frontends),
        at_s=at_s,
        prompt=pack_tokens(prompt),
        sampling=Sampling(
            max_new,
            min_new_tokens=max_new
            if max_new == _LONG_TOKENS
            else random.choice((0, 0, random.randint(0, max_new))),
            ignore_eos=random.random() < 0.2,
            seed=random.choice((None, None, random.randrange(1_000))),
        ),
        timeout_s=random.uniform(0.05, 3.0) if in_a_hurry else 60.0,
        n=random.choice((1, 1, 1, 1, 2, 4)),
        stream=random.random() < 0.7,
        stops=(random.choice(_STOPS),) if random.random() < 0.15 else (),
        priority=random.choice((0, 0, 5, -5)),
        leaves_after_s=leaves_after_s,
    )


def _make_poison(random: Random, requests: list[Asked], poison: set[int], *, hurried: bool) -> None:
    number = random.randrange(len(requests))
    kinds = ["crash", "engine-death", *(["hang-loop"] if hurried else [])]
    random.shuffle(kinds)
    max_new = requests[number].sampling.max_new_tokens
    sampling = Sampling(max_new, seed=_FAULT_OF_SEED[kinds[0]])
    requests[number] = replace(
        requests[number], n=1, sampling=sampling, timeout_s=60.0, leaves_after_s=None, stops=()
    )
    # A client that varies what does not matter.
    twin = replace(
        requests[number],
        number=len(requests),
        twin_of=number,
        sampling=Sampling(max_new + 1, seed=_FAULT_OF_SEED[kinds[1]]),
    )
    requests.append(twin)
    poison |= {number, twin.number}


def _faults(random: Random, kind: Kind, workers: int, frontends: int) -> list[Fault]:
    """No more in a strict world than a request may be moved, and none of them on the first
    worker.
    """
    if kind in ("calm", "poison", "overload"):
        return []
    if kind == "mild":
        return [
            _mild_fault(random, number, workers, frontends)
            for number in range(random.randint(1, 3))
        ]
    if kind == "pauses":
        return _pauses(random, workers)
    if kind == "rolling":
        return _rolling(random, workers, frontends)
    on_workers: tuple[WorkerFault, ...] = (
        "kill",
        "kill",
        "vanish",
        "stop",
        "drain",
        "hurry",
        "hang",
        "die",
        "slow",
    )
    on_links: tuple[LinkFault, ...] = ("break", "part", "fill")
    on_frontends: tuple[FrontendFault, ...] = (
        "frontend-kill",
        "frontend-vanish",
        "frontend-stop",
        "frontend-drain",
    )
    choices = {
        "crashes": on_workers,
        "lossy": on_links,
        "everything": (*on_workers, *on_links, *on_frontends),
    }[kind]
    return [
        Fault(
            at_s=random.uniform(0.5, 6.0),
            kind=random.choice(choices),
            worker=random.randrange(0 if kind == "everything" or workers == 1 else 1, workers),
            frontend=random.randrange(frontends),
            seconds=random.choice((random.uniform(0.1, 1.0), random.uniform(1.0, 6.0))),
        )
        for _ in range(random.randint(1, MOVES_MAX if kind == "crashes" else 6))
    ]


def _pauses(random: Random, workers: int) -> list[Fault]:
    """The first worker stands still once or twice, and others end about that time."""
    at_s = random.uniform(_BEGIN_S, _BEGIN_S + 2.0)
    endings: tuple[WorkerFault, ...] = ("kill", "kill", "vanish", "die", "drain")
    stops = [
        (at_s + number * random.uniform(0.0, 4.0), "stop", 0)
        for number in range(random.randint(1, 2))
    ]
    ends = [
        (at_s + random.uniform(-1.0, 3.0), random.choice(endings), worker)
        for worker in range(1, workers)
    ]
    return [
        Fault(
            at_s=at, kind=kind, worker=worker, frontend=0, seconds=random.uniform(1.0, PAUSE_S_MAX)
        )
        for at, kind, worker in [*stops, *ends][:MOVES_MAX]
    ]


def _rolling(random: Random, workers: int, frontends: int) -> list[Fault]:
    """All but the first worker are asked to leave, at times one of the frontends too."""
    leaves: list[tuple[WorkerFault | FrontendFault, int, int]] = [
        ("drain", worker, 0) for worker in range(1, workers)
    ]
    if random.random() < 0.4:
        leaves.append(("frontend-drain", 0, random.randrange(frontends)))
    return [
        Fault(
            at_s=_BEGIN_S + random.uniform(0.0, 3.0),
            kind=kind,
            worker=worker,
            frontend=frontend,
            seconds=0.0,
        )
        for kind, worker, frontend in leaves
    ]


def _mild_fault(random: Random, number: int, workers: int, frontends: int) -> Fault:
    """Far enough apart that two do not add up."""
    kind: WorkerFault | LinkFault | FrontendFault = random.choice(
        ("stop", "part", "fill", "fill", "frontend-stop")
    )
    return Fault(
        at_s=_BEGIN_S + 4.0 * number + random.uniform(0.0, 0.5),
        kind=kind,
        worker=random.randrange(workers),
        frontend=random.randrange(frontends),
        seconds=random.uniform(0.1, 3.0 if kind == "frontend-stop" else 0.8),
    )
