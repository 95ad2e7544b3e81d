"""`python -m bench.kv.churn`: ten million block events through a bounded index, and the memory that
is left.

The path is the frontend's own, from decoded messages on: encode, decode, RankFeed, RankBlocks. Each
rank's cache is always full: every message stores a prompt's blocks and removes as many of the
oldest. Lost messages and snapshots are played in between.
"""

import json
import os
import random
import statistics
import time
from collections import deque
from pathlib import Path
from typing import Any

from bench.compare.systems import machine
from bench.kit.usage import rss_mib
from kv_events.index import BlockBudget, RankBlocks
from kv_events.rank_feed import FeedCounts, RankFeed
from protocol.kv_stream import (
    BlockBatch,
    Removed,
    Snapshot,
    Stored,
    decode_batch,
    encode_batch,
    pack_hashes,
)

RANKS = 64
BLOCKS_PER_RANK = 8_192
BLOCK_EVENTS = 10_000_000
BLOCKS_PER_MESSAGE = 32
LOSS = 0.001
"""Share of messages that never arrive; the next one then brings a snapshot."""

SAMPLES = 20
RESULT = Path(__file__).resolve().parents[1] / "results/kv_churn.json"


class Rank:
    """A cache that is always full, and the feed that follows it."""

    def __init__(
        self, number: int, budget: BlockBudget, counts: FeedCounts, rng: random.Random
    ) -> None:
        self._rng = rng
        self._number = number
        self._sent = 0
        self._held: deque[int] = deque()
        self._blocks = RankBlocks(budget, BLOCKS_PER_RANK * 9 // 8)
        self._wanted = False
        self._feed = RankFeed(self._blocks, self._want, counts, 0.0)
        self._answer()

    def step(self) -> None:
        """One message: a prompt comes, the oldest blocks go."""
        new = [self._rng.getrandbits(64) for _ in range(BLOCKS_PER_MESSAGE)]
        gone = [
            self._held.popleft()
            for _ in range(max(0, len(self._held) + len(new) - BLOCKS_PER_RANK))
        ]
        self._held.extend(new)
        self._sent += 1
        frames = encode_batch(
            BlockBatch(
                1,
                self._number,
                self._sent,
                0.0,
                [Removed(0, pack_hashes(gone)), Stored(0, pack_hashes(new))],
            ),
        )
        if self._rng.random() >= LOSS:
            self._feed.on_batch(decode_batch(frames), float(self._sent))
        if self._wanted:
            self._answer()

    def check(self) -> None:
        """The index holds what the cache holds, but for a message that was just lost."""
        assert len(set(self._held) ^ set(self._blocks.places)) <= 4 * BLOCKS_PER_MESSAGE

    def _want(self) -> None:
        self._wanted = True

    def _answer(self) -> None:
        self._wanted = False
        self._feed.on_snapshot(
            Snapshot(1, self._number, self._sent, [pack_hashes(self._held), b"", b""]),
            float(self._sent),
        )


def churn(seed: int = 1) -> dict[str, Any]:
    """Run it; RSS in MiB once the caches are full, and at the end."""
    rng, budget, counts = (
        random.Random(seed),
        BlockBudget(RANKS * BLOCKS_PER_RANK * 9 // 8),
        FeedCounts(),
    )
    ranks = [Rank(number, budget, counts, rng) for number in range(RANKS)]
    messages = BLOCK_EVENTS // (2 * BLOCKS_PER_MESSAGE)
    rss: list[float] = []
    began = time.process_time()
    for sent in range(messages):
        ranks[sent % RANKS].step()
        if sent % (messages // SAMPLES) == 0:
            rss.append(round(rss_mib(os.getpid()), 1))
    spent_s = time.process_time() - began
    for rank in ranks:
        rank.check()
    full_from = SAMPLES // 2
    return {
        "machine": machine(),
        "block_events": messages * 2 * BLOCKS_PER_MESSAGE,
        "block_events_per_cpu_s": round(messages * 2 * BLOCKS_PER_MESSAGE / spent_s),
        "blocks_held": budget.blocks,
        "gaps": counts.gaps,
        "snapshots": counts.snapshots,
        "rss_mib": rss,
        "rss_mib_second_half": {
            "first": rss[full_from],
            "median": statistics.median(rss[full_from:]),
            "last": rss[-1],
        },
    }


if __name__ == "__main__":
    result = churn()
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
