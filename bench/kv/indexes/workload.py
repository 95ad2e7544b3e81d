"""What the prefix indexes of bench.kv.index are fed and asked, as one JSON file that any
interpreter can read.

A fleet's caches hold chains of 64-token blocks: a prefix that several ranks share, then a tail of
one rank's own. Hashes travel as hex of little-endian u64, so that an index's measured memory holds
the ints that it made itself, as in production.
"""

import json
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kv_events.hashing import chain_hashes, root_hash

BLOCK_TOKENS = 64
ENTRIES = 1_000_000
"""(rank, block) pairs in all."""
GROUPS = 16
PREFIX_BLOCKS = 64
TAIL_BLOCKS = (64, 192)
QUERY_BLOCKS = 128
"""A prompt of 8k tokens."""
EVENT_BLOCKS = 64
"""Events that fill an index carry this many blocks at most."""
QUERIES = 32
"""Different prompts of each kind, so that none is asked twice while its blocks are in the CPU's
cache.
"""
CHURN_CHAINS = 1024

GPU, HOST = 0, 1


@dataclass
class Chain:
    """Blocks `hashes`, on `rank`, behind block `parent`; those from `slow_from` on lie in host
    memory.
    """

    rank: int
    parent: int | None
    hashes: list[int]
    slow_from: int


@dataclass
class Fleet:
    ranks: int
    tiered: bool
    rng: random.Random
    chains: list[Chain] = field(default_factory=list)

    def fresh(self, blocks: int, parent: int | None = None) -> list[int]:
        """Hashes of a chain that nobody holds, over random tokens."""
        return chain_hashes(
            self.rng.randbytes(blocks * BLOCK_TOKENS * 4),
            BLOCK_TOKENS,
            parent or root_hash(BLOCK_TOKENS),
        )

    def hold(
        self, rank: int, parent: int | None, hashes: list[int], *, shared: bool = False
    ) -> None:
        """With tiers, odd ranks hold the rear half of their own tails in host memory."""
        slow = len(hashes) // 2 if self.tiered and rank % 2 and not shared else len(hashes)
        self.chains.append(Chain(rank, parent, hashes, slow))


def write(path: Path, ranks: int, *, tiered: bool, seed: int = 1) -> None:
    """A workload of one million entries on `ranks` ranks."""
    fleet = Fleet(ranks, tiered, random.Random(seed))
    prefixes = [fleet.fresh(PREFIX_BLOCKS) for _ in range(GROUPS)]
    stairs = [fleet.fresh(QUERY_BLOCKS) for _ in range(min(QUERIES, 2048 // ranks))]
    groups_of = _share(fleet, prefixes)
    for prompt in stairs:
        for step, rank in enumerate(fleet.rng.sample(range(ranks), ranks), start=1):
            fleet.hold(rank, None, prompt[: max(1, step * QUERY_BLOCKS // ranks)])
    tails = _fill(fleet, prefixes, groups_of)
    churned = fleet.rng.sample(
        [tail for tail in tails if len(tail.hashes) > EVENT_BLOCKS], CHURN_CHAINS
    )
    names = {id(tail) for tail in churned}
    exchanged = [_churn(fleet, tail) for tail in churned]
    work = {
        "ranks": ranks,
        "stores": [event for chain in fleet.chains for event in _events(chain)],
        "churn": exchanged,
        "queries": _queries(
            fleet, prefixes[0], stairs, [tail for tail in tails if id(tail) not in names]
        ),
        "entries": sum(len(chain.hashes) for chain in fleet.chains),
        "distinct": len({block for chain in fleet.chains for block in chain.hashes}),
    }
    path.write_text(json.dumps(work))


def _share(fleet: Fleet, prefixes: list[list[int]]) -> list[list[int]]:
    """Group 0 is the system prompt that every rank holds; a random half of the ranks holds each
    other one. Returns the groups by rank.
    """
    groups_of: list[list[int]] = [[] for _ in range(fleet.ranks)]
    for group, prefix in enumerate(prefixes):
        holders = (
            range(fleet.ranks)
            if group == 0
            else fleet.rng.sample(range(fleet.ranks), fleet.ranks // 2)
        )
        for rank in holders:
            fleet.hold(rank, None, prefix, shared=True)
            groups_of[rank].append(group)
    return groups_of


def _fill(fleet: Fleet, prefixes: list[list[int]], groups_of: list[list[int]]) -> list[Chain]:
    """Tails until there are ENTRIES; a quarter of them follows no shared prefix."""
    held, first = sum(len(chain.hashes) for chain in fleet.chains), len(fleet.chains)
    while held < ENTRIES:
        rank = len(fleet.chains) % fleet.ranks
        parent = (
            None if fleet.rng.random() < 0.25 else prefixes[fleet.rng.choice(groups_of[rank])][-1]
        )
        tail = fleet.fresh(fleet.rng.randint(*TAIL_BLOCKS), parent)
        fleet.hold(rank, parent, tail)
        held += len(tail)
    return fleet.chains[first:]


def _events(chain: Chain) -> Iterator[list[Any]]:
    """[rank, medium, parent, hex] of at most EVENT_BLOCKS blocks each."""
    parent, start = chain.parent, 0
    while start < len(chain.hashes):
        medium = GPU if start < chain.slow_from else HOST
        end = min(start + EVENT_BLOCKS, chain.slow_from if medium == GPU else len(chain.hashes))
        yield [chain.rank, medium, parent, _hex(chain.hashes[start:end])]
        parent, start = chain.hashes[end - 1], end


def _churn(fleet: Fleet, tail: Chain) -> list[Any]:
    """[rank, medium, parent, last blocks of the tail, others in their place]."""
    parent, medium = (
        tail.hashes[-EVENT_BLOCKS - 1],
        GPU if tail.slow_from == len(tail.hashes) else HOST,
    )
    if medium == HOST:  # only what lies in one medium is exchanged there
        tail.slow_from = min(tail.slow_from, len(tail.hashes) - EVENT_BLOCKS)
    return [
        tail.rank,
        medium,
        parent,
        _hex(tail.hashes[-EVENT_BLOCKS:]),
        _hex(fleet.fresh(EVENT_BLOCKS, parent)),
    ]


def _queries(
    fleet: Fleet, hot: list[int], stairs: list[list[int]], tails: list[Chain]
) -> dict[str, list[str]]:
    rest = QUERY_BLOCKS - PREFIX_BLOCKS
    alone = [tail for tail in tails if tail.parent is None and len(tail.hashes) >= QUERY_BLOCKS]
    behind = [tail for tail in tails if tail.parent == hot[-1]]
    # "stairs": every rank holds another length of the prompt, the worst case of looking ranks up
    # together or by guess.
    kinds = {
        "miss": [fleet.fresh(QUERY_BLOCKS) for _ in range(QUERIES)],
        "hot": [hot + fleet.fresh(rest, hot[-1]) for _ in range(QUERIES)],
        "full": [tail.hashes[:QUERY_BLOCKS] for tail in fleet.rng.sample(alone, QUERIES)],
        "hot_full": [hot + tail.hashes[:rest] for tail in fleet.rng.sample(behind, QUERIES)],
        "stairs": (stairs * QUERIES)[:QUERIES],
    }
    return {kind: [_hex(hashes) for hashes in queries] for kind, queries in kinds.items()}


def _hex(hashes: list[int]) -> str:
    return array("Q", hashes).tobytes().hex()
