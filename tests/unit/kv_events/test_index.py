"""The index, against a model that keeps sets of prefixes and walks them block by block."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kv_events.index import BlockBudget, IndexOverfull, Overlap, RankBlocks, overlaps
from protocol.kv_stream import DISK, GPU, HOST, MEDIA

RANKS = 3
PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=8)


def chain(prompt: list[int]) -> list[int]:
    """One number per prefix, as the hashes are."""
    return [hash((1, *prompt[:end])) % 2**64 for end in range(1, len(prompt) + 1)]


def overlap(rank: RankBlocks, hashes: list[int]) -> Overlap:
    return overlaps([rank], hashes)[0]


class IndexModel(RuleBasedStateMachine):
    """Prefix-closed caches in three media on three ranks, with predictions that expire."""

    @initialize()
    def begin(self) -> None:
        self.budget = BlockBudget(10_000)
        self.ranks = [RankBlocks(self.budget, 1_000) for _ in range(RANKS)]
        self.held: list[list[set[int]]] = [[set() for _ in MEDIA] for _ in range(RANKS)]
        self.predicted: list[dict[int, float]] = [{} for _ in range(RANKS)]
        self.parents: dict[int, int | None] = {}
        self.now = 0.0

    def known(self, prompt: list[int]) -> list[int]:
        hashes = chain(prompt)
        for parent, child in zip([None, *hashes], hashes, strict=False):
            self.parents[child] = parent
        return hashes

    @rule(rank=st.integers(0, RANKS - 1), medium=st.sampled_from(MEDIA), prompt=PROMPTS)
    def store(self, rank: int, medium: int, prompt: list[int]) -> None:
        hashes = self.known(prompt)
        if medium != GPU:  # written through: never more than the faster medium holds at that moment
            hashes = [block for block in hashes if block in self.held[rank][medium - 1]]
        self.ranks[rank].store(medium, hashes)
        self.held[rank][medium].update(hashes)
        if medium == GPU:
            for block in hashes:
                self.predicted[rank].pop(block, None)

    @rule(rank=st.integers(0, RANKS - 1), medium=st.sampled_from(MEDIA), data=st.data())
    def remove_a_leaf(self, rank: int, medium: int, data: st.DataObject) -> None:
        held = self.held[rank][medium]
        leaves = sorted(block for block in held if all(self.parents[other] != block for other in held))
        if leaves:
            leaf = data.draw(st.sampled_from(leaves))
            self.ranks[rank].remove(medium, [leaf])
            held.discard(leaf)

    @rule(rank=st.integers(0, RANKS - 1), prompt=PROMPTS)
    def remove_what_is_not_there(self, rank: int, prompt: list[int]) -> None:
        for medium in MEDIA:
            self.ranks[rank].remove(medium, [block for block in chain(prompt) if block not in self.held[rank][medium]])

    @rule(rank=st.integers(0, RANKS - 1))
    def clear(self, rank: int) -> None:
        self.ranks[rank].clear()
        self.held[rank] = [set() for _ in MEDIA]
        self.predicted[rank] = {}

    @rule(rank=st.integers(0, RANKS - 1), prompts=st.lists(PROMPTS, max_size=4))
    def replace(self, rank: int, prompts: list[list[int]]) -> None:
        blocks = sorted({block for prompt in prompts for block in self.known(prompt)})
        self.ranks[rank].replace([blocks, [], []])
        self.held[rank] = [set(blocks), set(), set()]
        for block in blocks:
            self.predicted[rank].pop(block, None)

    @rule(rank=st.integers(0, RANKS - 1), prompt=PROMPTS)
    def predict(self, rank: int, prompt: list[int]) -> None:
        """The whole prompt, as in approximate mode, so that its prefix lives at least as long as its end."""
        hashes = self.known(prompt)
        self.ranks[rank].predict(hashes, self.now + 2)
        self.predicted[rank].update((block, self.now + 2) for block in hashes if block not in self.held[rank][GPU])

    @rule(seconds=st.sampled_from([1, 3]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        for rank, predicted in zip(self.ranks, self.predicted, strict=True):
            rank.expire(self.now)
            for block in [block for block, until in predicted.items() if until <= self.now]:
                del predicted[block]

    @rule(prompt=PROMPTS)
    def overlaps_are_those_of_a_walk(self, prompt: list[int]) -> None:
        found = overlaps(self.ranks, chain(prompt))
        for overlap, held, predicted in zip(found, self.held, self.predicted, strict=True):
            near = held[GPU] | predicted.keys()
            hashes = chain(prompt)
            gpu, host, disk = (
                next((index for index, block in enumerate(hashes) if block not in places), len(hashes))
                for places in (near, near | held[HOST], near | held[HOST] | held[DISK])
            )
            assert overlap == Overlap(gpu, host - gpu, disk - host)

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "ranks"):
            return
        sizes = [len(set().union(*held, predicted)) for held, predicted in zip(self.held, self.predicted, strict=True)]
        assert [len(rank) for rank in self.ranks] == sizes
        assert self.budget.blocks == sum(sizes)


IndexModel.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestIndexModel = IndexModel.TestCase


def test_a_rank_cannot_hold_more_than_it_advertised() -> None:
    budget = BlockBudget(100)
    rank = RankBlocks(budget, 10)
    rank.store(GPU, range(10))
    with pytest.raises(IndexOverfull):
        rank.store(GPU, [10])
    assert (len(rank), budget.blocks) == (0, 0)


def test_all_ranks_together_have_a_hard_bound() -> None:
    budget = BlockBudget(15)
    first, second = RankBlocks(budget, 10), RankBlocks(budget, 10)
    first.store(GPU, range(10))
    with pytest.raises(IndexOverfull):
        second.replace([range(10), [], []])
    assert (len(first), len(second), budget.blocks) == (10, 0, 10)


def test_predictions_make_room_for_newer_ones() -> None:
    budget = BlockBudget(100)
    rank = RankBlocks(budget, 4)
    rank.predict([1, 2, 3], until=1.0)
    rank.predict([11, 12], until=2.0)
    # The end of the older prompt went first: what is left of it can still be used.
    assert overlap(rank, [1, 2, 3]) == Overlap(2)
    assert overlap(rank, [11, 12]) == Overlap(2)
    assert budget.blocks == len(rank) == 4


def test_an_event_settles_a_prediction() -> None:
    rank = RankBlocks(BlockBudget(100), 10)
    rank.predict([1, 2], until=1.0)
    rank.store(GPU, [1])
    rank.expire(1.0)
    assert overlap(rank, [1, 2]) == Overlap(1)


def test_memory_follows_what_is_held_now() -> None:
    """Churn leaves nothing behind: 200,000 blocks through a rank of 100."""
    budget = BlockBudget(1_000)
    rank = RankBlocks(budget, 100)
    for first in range(0, 200_000, 100):
        rank.store(GPU, range(first, first + 100))
        rank.remove(GPU, range(first, first + 100))
    assert (len(rank), budget.blocks) == (0, 0)
