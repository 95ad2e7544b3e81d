"""The candidates of bench.kv.index against sets of blocks, on random caches of a few ranks; a wrong
index is not worth timing.
"""

import random

from bench.kv.indexes.candidates import CANDIDATES
from bench.kv.indexes.interface import MEDIA, MEDIUMS

RANKS, CHAINS, BLOCKS, SHARED = 5, 6, 24, 7
STEPS = 300


def check_all(seed: int = 3) -> None:
    """Raises AssertionError where a candidate answers otherwise than the sets do."""
    rng = random.Random(seed)
    # All chains begin with the same SHARED blocks.
    prefix = [rng.getrandbits(64) for _ in range(SHARED)]
    chains = [prefix + [rng.getrandbits(64) for _ in range(BLOCKS - SHARED)] for _ in range(CHAINS)]
    held: dict[tuple[int, int], set[int]] = {
        (rank, medium): set() for rank in range(RANKS) for medium in range(MEDIA)
    }
    indexes = {name: make(RANKS) for name, make in CANDIDATES.items()}
    for _ in range(STEPS):
        rank, medium, chain, cut = (
            rng.randrange(RANKS),
            rng.choice(MEDIUMS),
            rng.choice(chains),
            rng.randint(1, BLOCKS),
        )
        chance = rng.random()
        for index in indexes.values():
            if chance < 0.02:
                index.drop(rank)
            elif chance < 0.6:
                index.store(rank, medium, chain[:cut], None)
            elif cut > SHARED:
                # From the leaf, as caches evict; what other chains need stays.
                gone = [block for block in reversed(chain[cut:]) if block in held[rank, medium]]
                index.remove(rank, medium, gone)
        _follow(held, rank, medium, chain, cut, chance)
        expected = _expected(held, chain)
        for name, index in indexes.items():
            assert index.overlaps(chain, tuple(range(RANKS))) == expected, f"{name} is wrong"


def _follow(
    held: dict[tuple[int, int], set[int]],
    rank: int,
    medium: int,
    chain: list[int],
    cut: int,
    chance: float,
) -> None:
    if chance < 0.02:
        for each in range(MEDIA):
            held[rank, each].clear()
    elif chance < 0.6:
        held[rank, medium].update(chain[:cut])
    elif cut > SHARED:
        held[rank, medium].difference_update(chain[cut:])


def _expected(
    held: dict[tuple[int, int], set[int]], chain: list[int]
) -> tuple[list[int], list[int]]:
    gpu = [_run(held[rank, 0], chain) for rank in range(RANKS)]
    return gpu, [
        _run(set[int]().union(*(held[rank, medium] for medium in range(MEDIA))), chain)
        for rank in range(RANKS)
    ]


def _run(held: set[int], chain: list[int]) -> int:
    return next((depth for depth, block in enumerate(chain) if block not in held), len(chain))
