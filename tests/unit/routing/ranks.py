"""Ranks as a router sees them, prompts of whole blocks, and the cost function written down a second
time, block by block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from frontend.routing.route import BLOCK_TOKENS, RouteRequest, Weights
from kv_events.index import BlockBudget, RankBlocks
from protocol.kv_stream import DISK, GPU, HOST
from protocol.tokens import pack_tokens

BUDGET = BlockBudget(10_000_000)


class RecordingBlocks(RankBlocks):
    """Remembers what was predicted."""

    __slots__ = ("predictions",)

    def __init__(self, budget: BlockBudget = BUDGET, blocks_max: int = 100_000) -> None:
        super().__init__(budget, blocks_max)
        self.predictions: list[tuple[list[int], float]] = []

    def predict(self, hashes: Sequence[int], until: float) -> None:
        self.predictions.append((list(hashes), until))
        super().predict(hashes, until)


@dataclass(eq=False)
class FakeRank:
    """A NamedRank that a test sets up as it likes."""

    worker_id: str = "w"
    dp_rank: int = 0
    requests: int = 0
    prefill_tokens: int = 0
    kv_tokens: int = 0
    block_size_tokens: int = BLOCK_TOKENS
    tells_events: bool = True
    reuses_prefixes: bool = True
    placed_at: int = 0
    blocks: RecordingBlocks = field(default_factory=RecordingBlocks)

    @property
    def key(self) -> tuple[str, int]:
        return self.worker_id, self.dp_rank

    def hold(self, route: RouteRequest, gpu: int, host: int = 0, disk: int = 0) -> None:
        """So many leading blocks of the prompt in GPU memory, so many behind them on the host, and
        so many on disk.
        """
        hashes = route.blocks(self.block_size_tokens)
        assert gpu + host + disk <= len(hashes)
        for medium, blocks in (
            (GPU, hashes[:gpu]),
            (HOST, hashes[gpu : gpu + host]),
            (DISK, hashes[gpu + host : gpu + host + disk]),
        ):
            if blocks:
                self.blocks.store(medium, blocks)

    def take(self, uncached_tokens: int) -> None:
        """A request was sent here and waits."""
        self.requests += 1
        self.prefill_tokens += uncached_tokens
        self.kv_tokens += uncached_tokens


def fleet(count: int, **fields: Any) -> list[FakeRank]:
    return [FakeRank(f"w{number}", **fields) for number in range(count)]


def prompt(tokens: int, seed: int = 0, **wishes: Any) -> RouteRequest:
    """A prompt of so many tokens; another seed, another prompt."""
    return RouteRequest(pack_tokens(range(seed * 1_000_000, seed * 1_000_000 + tokens)), **wishes)


def worth_of(rank: FakeRank, route: RouteRequest, weights: Weights) -> float:
    """Cached tokens of the prompt in tokens of GPU memory, walked one by one."""
    price = {1 << GPU: 1.0, 1 << HOST: weights.host, 1 << DISK: weights.disk}
    worth = 0.0
    for block in route.blocks(rank.block_size_tokens):
        places = rank.blocks.places.get(block, 0)
        if not places:
            break
        # the fastest medium; a prediction counts as GPU memory
        worth += price.get(places & -places, 1.0) * rank.block_size_tokens
    return worth


def cost_of(rank: FakeRank, route: RouteRequest, weights: Weights) -> float:
    prefill = weights.prefill if rank.requests else weights.prefill * weights.idle
    computing = prefill * (route.prompt_tokens - worth_of(rank, route, weights))
    return (
        computing
        + weights.waiting * rank.prefill_tokens
        + rank.kv_tokens
        + weights.request * BLOCK_TOKENS * rank.requests
    )
