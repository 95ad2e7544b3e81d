"""One world in eight has workers that run a leg of each request: some beside whole ones, some with
none.

All else of such a world is that of its seed. Where requests may not fail, a pair is spared, or a
whole worker is.
"""

from dataclasses import replace
from random import Random
from typing import Final, Literal

from tests.simulation.plan import (
    KINDS,
    MOVES_MAX,
    Fault,
    Kind,
    LegFault,
    Plan,
)
from tests.simulation.worker import WorkerSpec

Mode = Literal["null", "prefill", "decode"]
Halves = dict[str, list[int]]
"""Stage → the slots of its workers."""

EVERY: Final = 8
"""One round of all kinds in so many has legs."""

_MOMENTS: Final[tuple[LegFault, ...]] = ("sender-killed", "sender-stopped", "taker-killed")
"""What befalls workers at the moment at which a cache is handed over."""

_FAULTS: Final[dict[Kind, tuple[LegFault, ...]]] = {
    "mild": ("legs-part",),
    "crashes": (*_MOMENTS, "cache-lost", "cache-stalled", "legs-part"),
    "lossy": ("cache-lost", "caches-lost", "caches-stalled", "legs-part", "legs-break"),
    "overload": ("cache-lost", "caches-lost", "legs-part", "legs-break"),
    "everything": (
        *_MOMENTS,
        "cache-lost",
        "caches-lost",
        "caches-stalled",
        "legs-part",
        "legs-break",
    ),
}
_SHARE: Final = 0.4
"""Of the faults of such a kind that befall legs instead of processes and links to frontends."""

_ONCE: Final = "cache-stalled"
"""Costs a request half of its time (WAIT_S_MAX of workers/sim/handover)."""


def has_legs(seed: int) -> bool:
    """Whether requests run in two legs in the world of a seed."""
    return seed // len(KINDS) % EVERY == EVERY - 3


def with_legs(plan: Plan, random: Random) -> Plan:
    """A world whose requests run in two legs."""
    modes = _modes(plan, random)
    specs = [*plan.workers, *(random.choice(plan.workers) for _ in modes[len(plan.workers) :])]
    late = random.choice(("prefill", "decode")) if not plan.strict and random.random() < 0.3 else ""
    workers = [
        _worker(random, spec, mode, late=mode == late)
        for spec, mode in zip(specs, modes, strict=True)
    ]
    halves = {
        mode: [slot for slot, each in enumerate(modes) if each == mode]
        for mode in ("prefill", "decode")
    }
    frontends = [
        replace(
            each,
            settings=replace(each.settings, disagg_min_prompt=random.choice((0, 0, 100, 1_000))),
        )
        for each in plan.frontends
    ]
    return replace(
        plan,
        frontends=frontends,
        workers=workers,
        faults=_faults(plan, random, halves),
        legs=True,
    )


def _modes(plan: Plan, random: Random) -> list[Mode]:
    """By slot. What is appended is spared, since no fault names it."""
    count = len(plan.workers)
    if plan.kind == "poison":  # kills one of each stage, twice
        return (
            ["null"] * count + ["prefill", "decode"]
            if random.random() < 0.5
            else ["prefill"] * 3 + ["decode"] * 3
        )
    if random.random() < 0.4:
        others = random.choices(("null", "prefill", "decode"), (1, 2, 2), k=count - 1)
        return ["null", *others, "prefill", "decode"]
    return ["prefill", *random.choices(("prefill", "decode"), k=count - 1), "decode"]


def _worker(random: Random, spec: WorkerSpec, mode: Mode, *, late: bool) -> WorkerSpec:
    """A worker of a stage, which comes `late` after requests did: until then there is half a
    fleet.
    """
    settings = replace(
        spec.settings,
        disaggregation_mode=mode,
        disable_radix_cache=mode == "decode",
        # the cache of a prompt travels for less than a millisecond, or for up to seconds
        sim_transfer_gb_s=random.choice((50.0, 0.2, 0.05)),
    )
    start_s = random.uniform(1.8, 4.0) if late else spec.start_s
    return replace(spec, settings=settings, start_s=start_s)


def _faults(plan: Plan, random: Random, halves: Halves) -> list[Fault]:
    among = _FAULTS.get(plan.kind, ())
    if not among:
        return plan.faults
    faults = plan.faults or [
        Fault(at_s=random.uniform(1.0, 3.0), kind="slow", worker=0, frontend=0, seconds=1.0)
        for _ in range(random.randint(0, MOVES_MAX))
    ]
    chosen = [
        _leg_fault(plan, random, fault, random.choice(among), halves)
        if not plan.faults or random.random() < _SHARE
        else fault
        for fault in faults
    ]
    stalled = [fault for fault in chosen if fault.kind == _ONCE][1:]
    return [fault for fault in chosen if all(fault is not other for other in stalled)]


def _leg_fault(plan: Plan, random: Random, fault: Fault, kind: LegFault, halves: Halves) -> Fault:
    prefills, decodes = halves["prefill"], halves["decode"]
    if kind in _MOMENTS and plan.strict:  # the pair that is spared stays as it is
        others = range(1, len(plan.workers))
        mortal = [
            slot for slot in (decodes if kind == "taker-killed" else prefills) if slot in others
        ]
        if not mortal:
            kind = "cache-lost"
        elif kind == "taker-killed":
            decodes = mortal
        else:
            prefills = mortal
    return replace(fault, kind=kind, worker=random.choice(decodes), prefill=random.choice(prefills))
