"""Thousands of small worlds on a virtual clock, each from a seed: whatever befalls them, every
request ends once and as it should.

KVMESH_SIM_SEEDS=20000    how many seeds
KVMESH_SIM_SEED=1234      this one alone, to see it again
"""

import gc
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.broken import Broken
from tests.simulation.plan import KINDS
from tests.simulation.world import run

SEEDS: Final = int(os.environ.get("KVMESH_SIM_SEEDS", "2000"))
REPLAYED: Final = os.environ.get("KVMESH_SIM_SEED")
CHUNK: Final = 100
_COLLECTED_EVERY: Final = (20_000, 20, 50)
_ROOT: Final = Path(__file__).parents[2]

CHUNKS: Final = (
    [range(int(REPLAYED), int(REPLAYED) + 1)]
    if REPLAYED
    else [range(first, min(first + CHUNK, SEEDS)) for first in range(0, SEEDS, CHUNK)]
)


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


@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_whatever_befalls_them_requests_end_once_and_as_they_should(seeds: range) -> None:
    broken: list[str] = []
    for seed in seeds:
        try:
            run(seed)
        except Broken as problem:
            broken.append(str(problem))
    assert not broken, "\n\n".join([f"{len(broken)} of {len(seeds)} seeds", *broken[:3]])


def test_every_kind_of_world_meets_what_it_is_made_for() -> None:
    """A simulation in which nothing happens would find nothing."""
    totals: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}
    for seed in range(20 * len(KINDS)):
        result, total = run(seed), totals[KINDS[seed % len(KINDS)]]
        for name, count in {
            "completed": result.completed,
            "left": result.left,
            "moves": result.moves,
            "deaths": result.deaths,
            **result.failed,
        }.items():
            total[name] = total.get(name, 0) + count
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


def test_a_seed_gives_the_same_run_again_and_in_another_process() -> None:
    seeds = [
        KINDS.index("lossy"),
        KINDS.index("everything"),
        KINDS.index("everything") + len(KINDS),
    ]
    digests = [run(seed).digest for seed in seeds]
    assert [run(seed).digest for seed in seeds] == digests
    assert len(set(digests)) == len(digests)
    program = (
        f"from tests.simulation.world import run; print(*[run(seed).digest for seed in {seeds}])"
    )
    for hash_seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-c", program],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert [int(digest) for digest in told.stdout.split()] == digests
