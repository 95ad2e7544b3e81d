"""The index, against a model that keeps sets of blocks and walks a prompt block by block."""

import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kv_events.index import BlockBudget, IndexOverfull, Overlap, RankBlocks, overlaps
from protocol.kv_stream import DISK, GPU, HOST, MEDIA, Medium
from tests.unit.kv_events.examples import examples

RANKS = 2
LIFETIME_S = 2.0
Chain = tuple[int, ...]
"""A prompt, or its last block: a prefix names a block, as a hash does."""


def prefixes(prompt: Chain) -> list[Chain]:
    return [prompt[:end] for end in range(1, len(prompt) + 1)]


WHOLE = ((0, 0, 0, 0, 0, 0), (0, 0, 0, 1, 1, 1), (0, 1, 1, 1), (1, 1, 1))
"""Few prompts that share much, so that what happens to them meets."""

BLOCKS = sorted({block for prompt in WHOLE for block in prefixes(prompt)})
NUMBERS = {block: number for number, block in enumerate(BLOCKS)}
PROMPTS = st.sampled_from(BLOCKS)
SUBSETS = st.sets(PROMPTS, max_size=8)
RANK = st.integers(0, RANKS - 1)
SLOW_MEDIA = st.sampled_from([HOST, DISK])


def hashed(blocks: Iterable[Chain]) -> list[int]:
    return [NUMBERS[block] for block in blocks]


def overlap(rank: RankBlocks, hashes: Sequence[int]) -> Overlap:
    return overlaps([rank], hashes)[0]


class NaiveRank:
    """What a rank holds, by the definitions: a set a medium, predictions oldest first, and a walk
    for a question.
    """

    def __init__(self) -> None:
        self.held: list[set[Chain]] = [set() for _ in MEDIA]
        self.predicted: dict[Chain, float] = {}

    def __len__(self) -> int:
        return len(self.told | self.predicted.keys())

    @property
    def told(self) -> set[Chain]:
        return set[Chain]().union(*self.held)

    def settle(self) -> None:
        for block in self.held[GPU] & self.predicted.keys():
            del self.predicted[block]

    def predict(self, prompt: Chain, until: float) -> None:
        for block in reversed(prefixes(prompt)):
            if block not in self.held[GPU]:
                self.predicted.pop(block, None)
                self.predicted[block] = until

    def overlap(self, prompt: Chain) -> Overlap:
        near = self.held[GPU] | self.predicted.keys()
        gpu, host, disk = (
            next(
                (depth for depth, block in enumerate(prefixes(prompt)) if block not in places),
                len(prompt),
            )
            for places in (near, near | self.held[HOST], near | self.told)
        )
        return Overlap(gpu, host - gpu, disk - host)


class IndexModel(RuleBasedStateMachine):
    """GPU caches that give up leaves before what is before them, slower media that do as they like,
    and predictions of whole prompts.
    """

    @initialize(blocks_max=st.sampled_from([1_000, 7]), budget=st.sampled_from([10_000, 16]))
    def begin(self, blocks_max: int, budget: int) -> None:
        self.budget = BlockBudget(budget)
        self.blocks_max = blocks_max
        self.ranks = [RankBlocks(self.budget, blocks_max) for _ in range(RANKS)]
        self.naive = [NaiveRank() for _ in range(RANKS)]
        self.now = 0.0

    @property
    def overfull(self) -> bool:
        return sum(map(len, self.naive)) > self.budget.blocks_max

    @rule(rank=RANK, prompt=PROMPTS)
    def store_a_prompt(self, rank: int, prompt: Chain) -> None:
        self.store(rank, GPU, set(prefixes(prompt)))

    @rule(rank=RANK, medium=SLOW_MEDIA, blocks=SUBSETS)
    def store_anything_in_a_slower_medium(
        self, rank: int, medium: Medium, blocks: set[Chain]
    ) -> None:
        self.store(rank, medium, blocks)

    @rule(rank=RANK, medium=SLOW_MEDIA, prompt=PROMPTS)
    def write_a_prompt_through(self, rank: int, medium: Medium, prompt: Chain) -> None:
        self.store(rank, medium, set(prefixes(prompt)))

    def store(self, rank: int, medium: Medium, blocks: set[Chain]) -> None:
        naive = self.naive[rank]
        naive.held[medium] |= blocks
        naive.settle()
        if len(naive) > self.blocks_max + len(naive.predicted) or self.overfull:
            self.naive[rank] = NaiveRank()
            with pytest.raises(IndexOverfull):
                self.ranks[rank].store(medium, hashed(blocks))
        else:
            self.ranks[rank].store(medium, hashed(blocks))

    @rule(rank=RANK, data=st.data(), order=st.randoms(use_true_random=False))
    def remove_a_block_and_what_lies_behind_it(
        self, rank: int, data: st.DataObject, order: random.Random
    ) -> None:
        """In any order and in one event or many, since nothing is asked before the batch is
        applied.
        """
        held = self.naive[rank].held[GPU]
        if not held:
            return
        root = data.draw(st.sampled_from(sorted(held)))
        gone = sorted(block for block in held if block[: len(root)] == root)
        order.shuffle(gone)
        cut = order.randint(0, len(gone))
        for part in (gone[:cut], gone[cut:]):
            self.ranks[rank].remove(GPU, hashed(part))
        held.difference_update(gone)

    @rule(rank=RANK, medium=SLOW_MEDIA, data=st.data())
    def remove_anything_from_a_slower_medium(
        self, rank: int, medium: Medium, data: st.DataObject
    ) -> None:
        held = self.naive[rank].held[medium]
        if held:
            gone = data.draw(st.sets(st.sampled_from(sorted(held)), min_size=1))
            self.ranks[rank].remove(medium, hashed(gone))
            held -= gone

    @rule(rank=RANK, medium=st.sampled_from(MEDIA), blocks=SUBSETS)
    def remove_what_is_not_there(self, rank: int, medium: Medium, blocks: set[Chain]) -> None:
        self.ranks[rank].remove(medium, hashed(blocks - self.naive[rank].held[medium]))

    @rule(rank=RANK)
    def clear(self, rank: int) -> None:
        self.ranks[rank].clear()
        self.naive[rank] = NaiveRank()

    @rule(rank=RANK, prompts=st.lists(PROMPTS, max_size=3), host=SUBSETS, disk=SUBSETS)
    def replace(self, rank: int, prompts: list[Chain], host: set[Chain], disk: set[Chain]) -> None:
        naive = self.naive[rank]
        naive.held = [{block for prompt in prompts for block in prefixes(prompt)}, host, disk]
        naive.settle()
        told = [hashed(held) for held in naive.held]
        if len(naive.told) > self.blocks_max or self.overfull:
            self.naive[rank] = NaiveRank()
            with pytest.raises(IndexOverfull):
                self.ranks[rank].replace(told)
        else:
            self.ranks[rank].replace(told)

    @rule(rank=RANK, prompt=PROMPTS, data=st.data(), order=st.randoms(use_true_random=False))
    def a_prompt_is_computed_in_part_and_given_up(
        self, rank: int, prompt: Chain, data: st.DataObject, order: random.Random
    ) -> None:
        self.predict(rank, prompt)
        self.store_a_prompt(rank, data.draw(st.sampled_from(prefixes(prompt))))
        self.remove_a_block_and_what_lies_behind_it(rank, data, order)

    @rule(rank=RANK)
    def replace_by_nothing(self, rank: int) -> None:
        self.replace(rank, [], set(), set())

    @rule(rank=RANK, prompt=PROMPTS)
    def predict(self, rank: int, prompt: Chain) -> None:
        self.ranks[rank].predict(hashed(prefixes(prompt)), self.now + LIFETIME_S)
        naive = self.naive[rank]
        naive.predict(prompt, self.now + LIFETIME_S)
        while naive.predicted and (len(naive.predicted) > self.blocks_max or self.overfull):
            del naive.predicted[next(iter(naive.predicted))]

    @rule(rank=RANK)
    def forget_predictions(self, rank: int) -> None:
        self.ranks[rank].forget_predictions()
        self.naive[rank].predicted.clear()

    @rule(seconds=st.sampled_from([1, 3]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        for rank, naive in zip(self.ranks, self.naive, strict=True):
            rank.expire(self.now)
            naive.predicted = {
                block: until for block, until in naive.predicted.items() if until > self.now
            }

    @invariant()
    def overlaps_are_those_of_a_walk(self) -> None:
        if hasattr(self, "ranks"):
            for prompt in WHOLE:
                assert overlaps(self.ranks, hashed(prefixes(prompt))) == [
                    naive.overlap(prompt) for naive in self.naive
                ]

    @rule(prompt=PROMPTS)
    def overlaps_of_less_are_those_of_a_walk(self, prompt: Chain) -> None:
        assert overlaps(self.ranks, hashed(prefixes(prompt))) == [
            naive.overlap(prompt) for naive in self.naive
        ]

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "ranks"):
            assert [len(rank) for rank in self.ranks] == [len(naive) for naive in self.naive]
            assert self.budget.blocks == sum(map(len, self.naive))


IndexModel.TestCase.settings = examples(100)
TestIndexModel = IndexModel.TestCase


def pair() -> list[RankBlocks]:
    budget = BlockBudget(100)
    return [RankBlocks(budget, 10), RankBlocks(budget, 10)]


def test_a_prediction_behind_what_a_snapshot_no_longer_holds_does_not_count() -> None:
    first, second = ranks = pair()
    for rank in ranks:
        rank.predict([1, 2], until=1.0)
    second.store(GPU, [1])
    assert overlaps(ranks, [1, 2]) == [Overlap(2), Overlap(2)]
    second.replace(())
    assert (len(second), overlaps(ranks, [1, 2])) == (1, [Overlap(2), Overlap(0)])
    assert overlaps([second, first], [1, 2]) == [Overlap(0), Overlap(2)]


def test_a_prediction_behind_a_removed_block_does_not_count() -> None:
    first, second = ranks = pair()
    for rank in ranks:
        rank.predict([1, 2], until=1.0)
    second.store(GPU, [1])
    second.remove(GPU, [1])
    assert overlaps(ranks, [1, 2]) == [Overlap(2), Overlap(0)]
    assert overlaps([second, first], [1, 2]) == [Overlap(0), Overlap(2)]


def test_predictions_behind_a_hole_count_again_when_it_is_filled() -> None:
    first, second = ranks = pair()
    first.store(GPU, [1, 2, 3, 4, 5])
    second.predict([1, 2, 3, 4, 5], until=1.0)
    second.store(GPU, [1, 2, 3])
    second.remove(GPU, [3, 2])
    assert overlaps(ranks, [1, 2, 3, 4, 5]) == [Overlap(5), Overlap(1)]
    second.store(GPU, [2])
    assert overlaps(ranks, [1, 2, 3, 4, 5]) == [Overlap(5), Overlap(2)]
    second.predict([1, 2, 3], until=1.0)
    assert overlaps(ranks, [1, 2, 3, 4, 5]) == [Overlap(5), Overlap(5)]


def test_a_hole_stays_one_whatever_is_predicted_besides() -> None:
    first, second = ranks = pair()
    for rank in ranks:
        rank.predict([1, 2, 3, 4], until=1.0)
    second.store(GPU, [1, 2])
    second.remove(GPU, [2])
    second.predict([1, 5], until=1.0)
    assert overlaps(ranks, [1, 2, 3, 4]) == [Overlap(4), Overlap(1)]
    assert overlaps([second, first], [1, 2, 3, 4]) == [Overlap(1), Overlap(4)]
    assert overlap(second, [1, 5]) == Overlap(2)


def test_a_snapshot_that_holds_less_than_was_told_leaves_what_it_holds() -> None:
    first, second = ranks = pair()
    for rank in ranks:
        rank.predict([1, 2, 3, 4], until=1.0)
    second.store(GPU, [1, 2, 3])
    second.replace([[1], [], []])
    assert overlaps(ranks, [1, 2, 3, 4]) == [Overlap(4), Overlap(1)]
    assert overlaps([second, first], [1, 2, 3, 4]) == [Overlap(1), Overlap(4)]


def test_a_prediction_of_a_block_that_a_snapshot_has_in_a_slower_medium_stays() -> None:
    rank = RankBlocks(BlockBudget(100), 10)
    rank.predict([1, 2], until=1.0)
    rank.replace([[1], [2], []])
    assert overlap(rank, [1, 2]) == Overlap(2)
    rank.expire(1.0)
    assert overlap(rank, [1, 2]) == Overlap(1, 1)


def test_a_slower_medium_may_lack_a_block_in_the_middle() -> None:
    first, second = ranks = pair()
    for rank in ranks:
        rank.store(HOST, [1, 2, 3, 4])
    second.remove(HOST, [2])
    assert overlaps(ranks, [1, 2, 3, 4]) == [Overlap(0, 4), Overlap(0, 1)]
    second.store(DISK, [2])
    assert overlaps(ranks, [1, 2, 3, 4]) == [Overlap(0, 4), Overlap(0, 1, 3)]
    second.store(GPU, [1])
    assert overlaps([second, first], [1, 2, 3, 4]) == [Overlap(1, 0, 3), Overlap(0, 4)]


def test_a_prediction_behind_a_block_in_a_slower_medium_is_no_nearer_than_that() -> None:
    rank = RankBlocks(BlockBudget(100), 10)
    rank.store(GPU, [1])
    rank.store(HOST, [1])
    rank.predict([1, 2], until=1.0)
    rank.remove(GPU, [1])
    assert overlap(rank, [1, 2]) == Overlap(0, 2)


def test_a_prefix_predicted_again_lives_as_long_as_what_goes_on_from_it() -> None:
    rank = RankBlocks(BlockBudget(100), 10)
    rank.predict([1, 2, 3], until=1.0)
    rank.predict([1, 2, 4, 5], until=2.0)
    rank.expire(1.0)
    assert (overlap(rank, [1, 2, 3]), overlap(rank, [1, 2, 4, 5])) == (Overlap(2), Overlap(4))
    rank.expire(2.0)
    assert len(rank) == 0


def test_a_prefix_that_prompts_share_makes_room_after_their_ends() -> None:
    rank = RankBlocks(BlockBudget(100), 4)
    rank.predict([1, 2, 3], until=1.0)
    rank.predict([1, 4, 5], until=2.0)
    assert (overlap(rank, [1, 2, 3]), overlap(rank, [1, 4, 5])) == (Overlap(2), Overlap(3))
    rank.predict([6, 7, 8], until=3.0)
    assert [overlap(rank, prompt) for prompt in ([1, 2, 3], [1, 4, 5], [6, 7, 8])] == [
        Overlap(1),
        Overlap(1),
        Overlap(3),
    ]


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
