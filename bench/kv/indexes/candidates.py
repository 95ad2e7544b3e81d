"""All candidates, with what the router runs."""

from collections.abc import Callable, Sequence

from bench.kv.indexes.by_rank import Dicts, Sets
from bench.kv.indexes.interface import Index, Runs
from bench.kv.indexes.masks import Masks, SweptMasks
from bench.kv.indexes.tree import Tree
from kv_events.index import BlockBudget, RankBlocks, overlaps
from protocol.kv_stream import Medium


class Shipped:
    """What the router runs: kv_events.index."""

    def __init__(self, ranks: int) -> None:
        budget = BlockBudget(1 << 30)
        self._ranks = [RankBlocks(budget, 1 << 30) for _ in range(ranks)]

    def store(self, rank: int, medium: Medium, hashes: Sequence[int], _parent: int | None) -> None:
        self._ranks[rank].store(medium, hashes)

    def remove(self, rank: int, medium: Medium, hashes: Sequence[int]) -> None:
        self._ranks[rank].remove(medium, hashes)

    def drop(self, rank: int) -> None:
        self._ranks[rank].clear()

    def overlaps(self, hashes: Sequence[int], ranks: tuple[int, ...]) -> Runs:
        found = overlaps([self._ranks[rank] for rank in ranks], hashes)
        return [overlap.gpu for overlap in found], [sum(overlap) for overlap in found]


CANDIDATES: dict[str, Callable[[int], Index]] = {
    "A masks": Masks,
    "A2 masks, swept": SweptMasks,
    "B dicts": Dicts,
    "B2 sets": Sets,
    "C tree": Tree,
    "kv_events.index": Shipped,
}
