"""Thousands of small worlds on a virtual clock, each from a seed: whatever befalls them, every
request ends once and as it should.

KVMESH_SIM_SEEDS=20000    how many seeds
KVMESH_SIM_LEGS=1         so many of those alone whose requests run in two legs
KVMESH_SIM_PICTURES=1     so many of those alone that have pictures
KVMESH_SIM_DRAWINGS=1     so many of those alone that make pictures
KVMESH_SIM_SEED=1234      this one alone, to see it again
"""

import gc
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import pytest

from frontend.routing.leaders import Leaders
from tests.simulation.broken import Broken
from tests.simulation.drawing_plan import has_drawings
from tests.simulation.leg_plan import has_legs
from tests.simulation.loop import VirtualLoop
from tests.simulation.picture_plan import has_pictures
from tests.simulation.plan import KINDS
from tests.simulation.seeds import plan_of
from tests.simulation.trace import Trace
from tests.simulation.world import World, run

SEEDS: Final = int(os.environ.get("KVMESH_SIM_SEEDS", "2000"))
REPLAYED: Final = os.environ.get("KVMESH_SIM_SEED")
CHUNK: Final = 100
MET: Final = 20 * len(KINDS)
"""So many worlds, the first, are looked at for what befell them, too: they are run there alone."""

PARTED_LAST: Final = 13_114
_COLLECTED_EVERY: Final = (20_000, 20, 50)
_ROOT: Final = Path(__file__).parents[2]

WORLDS: Final = (
    [int(REPLAYED)]
    if REPLAYED
    else list(islice(filter(has_legs, count()), SEEDS))
    if os.environ.get("KVMESH_SIM_LEGS")
    else list(islice(filter(has_pictures, count()), SEEDS))
    if os.environ.get("KVMESH_SIM_PICTURES")
    else list(islice(filter(has_drawings, count()), SEEDS))
    if os.environ.get("KVMESH_SIM_DRAWINGS")
    else list(range(MET if SEEDS > MET else 0, SEEDS))
)
CHUNKS: Final = [WORLDS[first : first + CHUNK] for first in range(0, len(WORLDS), CHUNK)]


@pytest.fixture(autouse=True)
def _rarely_collected() -> Iterator[None]:
    """A world leaves few cycles, and looking for them every 700 objects takes a tenth of its
    time.
    """
    usual = gc.get_threshold()
    gc.set_threshold(*_COLLECTED_EVERY)
    yield
    gc.set_threshold(*usual)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Workers that die are what this is about; a line for each would cost more than the worlds
    do.
    """
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_whatever_befalls_them_requests_end_once_and_as_they_should(seeds: list[int]) -> None:
    broken: list[str] = []
    for seed in seeds:
        try:
            run(seed)
        except Broken as problem:
            broken.append(str(problem))
    assert not broken, "\n\n".join([f"{len(broken)} of {len(seeds)} seeds", *broken[:3]])


def test_every_kind_of_world_meets_what_it_is_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation in which nothing happens would find nothing."""
    followed, follow = 0, Leaders.follow

    def counted(leaders: Leaders[Any], leader: str, request_id: str, held: object) -> bool:
        nonlocal followed
        followed += 1
        return follow(leaders, leader, request_id, held)

    monkeypatch.setattr(Leaders, "follow", counted)
    totals: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}
    encoded = 0
    for seed in range(MET):
        result, total = run(seed), totals[KINDS[seed % len(KINDS)]]
        encoded += result.encoded
        for name, number in {
            "completed": result.completed,
            "left": result.left,
            "moves": result.moves,
            "deaths": result.deaths,
            **result.failed,
        }.items():
            total[name] = total.get(name, 0) + number
    assert encoded > 200
    assert followed > 20
    for total in totals.values():
        assert total["completed"] > 50
        assert total["left"] > 2
    assert totals["calm"]["moves"] == totals["calm"]["deaths"] == 0
    assert min(totals["crashes"]["moves"], totals["crashes"]["deaths"]) > 10
    assert totals["lossy"]["moves"] > 10
    assert min(totals["pauses"]["moves"], totals["pauses"]["deaths"]) > 10
    assert totals["poison"]["poison_request"] >= 40
    assert totals["overload"]["overloaded"] > 50
    assert totals["rolling"]["shutting_down"] > 2
    codes = totals["everything"].keys()
    assert {
        "worker_lost",
        "no_worker",
        "overloaded",
        "deadline_exceeded",
        "poison_request",
    } <= codes


def test_a_seed_gives_the_same_run_behind_any_others_and_in_another_process() -> None:
    """What outlives a world is none of the next one's business: neither caches nor counts nor
    what is left of it for the garbage collector, nor the order of sets.
    """
    rounds = [
        next(seed for seed in count(0, len(KINDS)) if has(seed))
        for has in (has_legs, has_pictures, has_drawings)
    ]
    seeds = [
        KINDS.index("lossy"),
        KINDS.index("everything"),
        KINDS.index("everything") + len(KINDS),
        *(seed for first in rounds for seed in range(first, first + len(KINDS))),
    ]
    digests = [run(seed).digest for seed in seeds]
    assert [run(seed).digest for seed in reversed(seeds)] == digests[::-1]
    assert len(set(digests)) == len(digests)
    for hash_seed, order in (("1", seeds), ("2", seeds[::-1])):
        program = (
            "from tests.simulation.world import run; "
            f"print(*[run(seed).digest for seed in {order}])"
        )
        told = subprocess.run(
            [sys.executable, "-c", program],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found = dict(zip(order, map(int, told.stdout.split()), strict=True))
        assert [found[seed] for seed in seeds] == digests


def test_a_world_is_not_blamed_for_deaths_that_another_one_counts() -> None:
    """Every world counts its own."""
    worlds = [World(plan_of(0), VirtualLoop(), Trace()) for _ in range(2)]
    died = [world.metrics.losses.workers.labels("died") for world in worlds]
    died[0].inc()
    assert [each._value.get() for each in died] == [1.0, 0.0]
    for world in worlds:
        world.loop.close()


def test_what_is_held_back_arrives_before_a_mild_world_ends() -> None:
    """The way of a worker is parted as the last thing that happens in this one, until after the
    worker would have left: its goodbye got lost behind a beat.
    """
    assert KINDS[PARTED_LAST % len(KINDS)] == "mild"
    assert run(PARTED_LAST).deaths == 0
