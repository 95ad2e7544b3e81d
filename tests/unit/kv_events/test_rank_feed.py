"""One rank's feed against a publisher's model, over a channel that loses, repeats, reorders and
delays.
"""

from collections.abc import Sequence

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kv_events import rank_feed
from kv_events.index import BlockBudget, RankBlocks
from kv_events.rank_feed import BEHIND_S_MAX, OVERFULL_PAUSE_S, SNAPSHOT_S_MAX, FeedCounts, RankFeed
from protocol.errors import ProtocolViolation
from protocol.kv_stream import (
    GPU,
    HOST,
    MEDIA,
    BlockBatch,
    Change,
    Cleared,
    Medium,
    Removed,
    Snapshot,
    Stored,
    pack_hashes,
)
from tests.unit.kv_events.examples import examples

TICK_S = 0.25
UNIVERSE = 14
"""Blocks that a publisher may tell of; more than a rank can hold."""

BLOCKS_MAX = 10

State = frozenset[tuple[Medium, int]]
"""What is held: medium and block."""


class Publisher:
    """Numbered batches, and what was held after each."""

    def __init__(self) -> None:
        self.number = 0
        self.states: list[State] = [frozenset()]

    @property
    def held(self) -> State:
        return self.states[-1]

    def publish(self, *changes: Change) -> BlockBatch:
        held = set(self.held)
        for change in changes:
            match change:
                case Stored():
                    held |= {(change.medium, block) for block in _hashes(change.hashes)}
                case Removed():
                    held -= {(change.medium, block) for block in _hashes(change.hashes)}
                case Cleared():
                    held.clear()
        self.number += 1
        self.states.append(frozenset(held))
        return BlockBatch(1, 0, self.number, float(self.number), list(changes))

    def store(self, *blocks: int, medium: Medium = GPU) -> BlockBatch:
        return self.publish(Stored(medium, pack_hashes(blocks)))

    def remove(self, *blocks: int, medium: Medium = GPU) -> BlockBatch:
        return self.publish(Removed(medium, pack_hashes(blocks)))

    def snapshot(self) -> Snapshot:
        by_medium = [
            pack_hashes(sorted(block for place, block in self.held if place == medium))
            for medium in MEDIA
        ]
        return Snapshot(1, 0, self.number, by_medium)


def _hashes(packed: bytes) -> list[int]:
    return [
        int.from_bytes(packed[start : start + 8], "little") for start in range(0, len(packed), 8)
    ]


def seen(blocks: RankBlocks) -> State:
    """What the feed says is held."""
    return frozenset(
        (medium, block)
        for block, places in blocks.places.items()
        for medium in MEDIA
        if places & 1 << medium
    )


class Following:
    """A publisher, a feed of it, and the questions that the feed asked and nobody has answered."""

    def __init__(self, blocks_max: int = BLOCKS_MAX, budget: BlockBudget | None = None) -> None:
        self.publisher = Publisher()
        self.blocks = RankBlocks(budget or BlockBudget(1_000), blocks_max)
        self.counts = FeedCounts()
        self.questions = 0
        self.now = 100.0
        self.feed = RankFeed(self.blocks, self._ask, self.counts, self.now)

    def _ask(self) -> None:
        self.questions += 1

    def deliver(self, *batches: BlockBatch) -> None:
        for batch in batches:
            self.feed.on_batch(batch, self.now)

    def answer(self) -> None:
        """All questions, with what is true now."""
        while self.questions:
            self.questions -= 1
            self.feed.on_snapshot(self.publisher.snapshot(), self.now)

    def run(self, seconds: float, *, beats: bool = True, answers: bool = True) -> None:
        """Ticks and heartbeats as a frontend has them."""
        for _ in range(int(seconds / TICK_S)):
            self.now += TICK_S
            self.feed.on_time(self.now)
            if answers:
                self.answer()
            if beats:
                self.feed.on_number(self.publisher.number, self.now)

    @property
    def agrees(self) -> bool:
        return self.feed.current and seen(self.blocks) == self.publisher.held


SUBSET = st.sets(st.integers(0, UNIVERSE - 1), min_size=1, max_size=5).map(sorted)
CHANGE = st.one_of(
    st.builds(
        lambda medium, blocks: Stored(medium, pack_hashes(blocks)), st.sampled_from(MEDIA), SUBSET
    ),
    st.builds(
        lambda medium, blocks: Removed(medium, pack_hashes(blocks)), st.sampled_from(MEDIA), SUBSET
    ),
    st.just(Cleared()),
)


class ChannelModel(RuleBasedStateMachine):
    """Anything may be under way, and arrives in any order, several times or never."""

    @initialize()
    def begin(self) -> None:
        self.following = Following()
        self.feed = self.following.feed
        self.publisher = self.following.publisher
        self.batches: list[BlockBatch] = []
        self.snapshots: list[Snapshot] = []
        self.numbers: list[int] = []

    @rule(changes=st.lists(CHANGE, min_size=1, max_size=3), arrives=st.booleans())
    def publish(self, changes: list[Change], arrives: bool) -> None:
        batch = self.publisher.publish(*changes)
        self.numbers.append(batch.number)
        if arrives:
            self.following.deliver(batch)
        else:
            self.batches.append(batch)

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), again=st.booleans())
    def a_batch_arrives(self, data: st.DataObject, again: bool) -> None:
        index = data.draw(st.integers(0, len(self.batches) - 1))
        self.following.deliver(self.batches[index] if again else self.batches.pop(index))

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def a_batch_is_lost(self, data: st.DataObject) -> None:
        self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))

    @precondition(lambda self: self.following.questions)
    @rule(lost=st.booleans())
    def a_question_is_answered_or_lost(self, lost: bool) -> None:
        self.following.questions -= 1
        if not lost:
            self.snapshots.append(self.publisher.snapshot())

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data(), again=st.booleans())
    def a_snapshot_arrives(self, data: st.DataObject, again: bool) -> None:
        index = data.draw(st.integers(0, len(self.snapshots) - 1))
        self.feed.on_snapshot(
            self.snapshots[index] if again else self.snapshots.pop(index), self.following.now
        )

    @precondition(lambda self: self.snapshots)
    @rule()
    def a_snapshot_is_lost(self) -> None:
        self.snapshots.pop()

    @precondition(lambda self: self.numbers)
    @rule(data=st.data())
    def a_heartbeat_arrives(self, data: st.DataObject) -> None:
        self.feed.on_number(data.draw(st.sampled_from(self.numbers)), self.following.now)

    @rule(
        seconds=st.sampled_from(
            [TICK_S, BEHIND_S_MAX + 0.1, SNAPSHOT_S_MAX + 0.1, OVERFULL_PAUSE_S]
        ),
        ticks=st.booleans(),
    )
    def time_passes(self, seconds: float, ticks: bool) -> None:
        self.following.now += seconds
        if ticks:
            self.feed.on_time(self.following.now)

    @rule(arrives=st.booleans())
    def the_channel_falls_quiet(self, arrives: bool) -> None:
        """What was under way comes or is lost; from then on questions are answered at once."""
        if arrives:
            for snapshot in self.snapshots:
                self.feed.on_snapshot(snapshot, self.following.now)
            self.following.deliver(*self.batches)
        self.snapshots.clear()
        self.batches.clear()
        self.following.questions = 0  # lost as well
        self.following.run(OVERFULL_PAUSE_S + 2 * SNAPSHOT_S_MAX + 4 * BEHIND_S_MAX)
        if len({block for _, block in self.publisher.held}) <= BLOCKS_MAX:
            assert self.following.agrees
            assert self.feed.number == self.publisher.number
        else:
            assert (len(self.following.blocks), self.feed.current) == (0, False)

    @invariant()
    def what_is_claimed_was_true_at_the_feeds_number(self) -> None:
        if not hasattr(self, "feed"):
            return
        claimed = seen(self.following.blocks)
        if claimed or self.feed.current:
            assert claimed == self.publisher.states[self.feed.number]
        assert self.feed.number <= self.publisher.number
        assert len(self.following.blocks) <= BLOCKS_MAX

    def teardown(self) -> None:
        if hasattr(self, "feed"):
            self.the_channel_falls_quiet(arrives=True)


ChannelModel.TestCase.settings = examples(75)
TestChannelModel = ChannelModel.TestCase


def current(following: Following | None = None) -> Following:
    """A feed that has its first snapshot, of two blocks."""
    following = following or Following()
    following.publisher.store(1, 2)
    following.answer()
    assert following.agrees
    return following


def test_a_feed_begins_by_asking_and_claims_nothing_until_the_answer() -> None:
    following = Following()
    assert (following.questions, following.feed.current) == (1, False)
    following.deliver(following.publisher.store(1))
    assert seen(following.blocks) == frozenset()
    following.answer()
    assert following.agrees


def test_batches_behind_the_snapshot_are_held_and_those_in_it_are_not_applied_twice() -> None:
    following = Following()
    early, inside = following.publisher.store(1), following.publisher.remove(1)
    snapshot = following.publisher.snapshot()
    late = following.publisher.store(3)
    following.deliver(early, inside, late)
    following.feed.on_snapshot(snapshot, following.now)
    assert following.agrees
    assert following.counts.duplicates == 0


def test_a_gap_is_asked_about_once_and_mended() -> None:
    following = current()
    following.publisher.store(3)  # lost
    following.deliver(following.publisher.store(4), following.publisher.remove(1))
    assert (following.questions, following.counts.gaps, following.feed.current) == (1, 1, False)
    assert seen(following.blocks) == {(GPU, 1), (GPU, 2)}
    following.answer()
    assert following.agrees


def test_a_duplicate_is_counted_and_changes_nothing() -> None:
    following = current()
    stored, removed = following.publisher.store(3), following.publisher.remove(3)
    following.deliver(stored, removed, stored)
    assert following.agrees
    assert (following.counts.duplicates, following.questions) == (1, 0)


def test_a_lost_tail_shows_by_the_heartbeats_number_after_a_while() -> None:
    following = current()
    following.publisher.store(3)  # lost, and nothing follows
    following.run(BEHIND_S_MAX)
    assert (following.feed.current, following.questions) == (True, 0)
    following.run(3 * TICK_S)
    assert following.agrees
    assert following.counts.gaps == 1


def test_a_number_that_the_stream_reaches_in_time_is_no_gap() -> None:
    following = current()
    for block in range(3, 9):
        batch = following.publisher.store(block)
        following.run(BEHIND_S_MAX - TICK_S)
        following.deliver(batch)
    following.run(2 * BEHIND_S_MAX)
    assert following.agrees
    assert (following.counts.gaps, following.counts.snapshots) == (0, 1)


def test_an_unanswered_question_is_asked_again_and_meanwhile_nothing_is_claimed() -> None:
    following = current()
    following.publisher.store(3)
    following.deliver(following.publisher.store(4))
    following.run(SNAPSHOT_S_MAX, answers=False)
    assert len(following.blocks) == 2
    following.run(2 * TICK_S, answers=False)
    assert (len(following.blocks), following.questions, following.counts.drops) == (0, 2, 1)
    following.run(3 * SNAPSHOT_S_MAX, answers=False)
    assert following.questions > 3
    following.answer()
    assert following.agrees


def test_a_second_answer_is_ignored() -> None:
    following = current()
    old = following.publisher.snapshot()
    following.deliver(following.publisher.store(3))
    following.feed.on_snapshot(old, following.now)
    assert following.agrees
    assert following.counts.snapshots == 1


def test_a_late_answer_to_an_older_question_is_made_good_by_the_next_heartbeats() -> None:
    following = current()
    old = following.publisher.snapshot()
    following.deliver(following.publisher.store(3))
    following.publisher.store(4)  # lost
    following.deliver(following.publisher.store(5))
    following.feed.on_snapshot(old, following.now)
    following.run(BEHIND_S_MAX + 3 * TICK_S)
    assert following.agrees


def test_the_batch_that_shows_a_gap_is_applied_behind_a_snapshot_that_closes_it() -> None:
    following = current()
    following.publisher.store(3)  # lost
    closing = following.publisher.snapshot()
    following.deliver(following.publisher.store(4))
    following.questions -= 1
    following.feed.on_snapshot(closing, following.now)
    assert following.agrees


def test_predictions_outlive_a_snapshot_and_a_flush() -> None:
    following = current()
    following.blocks.predict([7], until=1_000.0)
    following.publisher.store(3)
    following.deliver(
        following.publisher.publish(Stored(HOST, pack_hashes([1])), Removed(GPU, pack_hashes([2])))
    )
    following.answer()
    following.deliver(following.publisher.publish(Cleared()))
    assert following.agrees
    assert set(following.blocks.places) == {7}


def test_more_batches_than_are_held_leave_a_gap_that_is_mended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rank_feed, "HELD_MAX", 3)
    following = Following()
    snapshot = following.publisher.snapshot()
    following.deliver(*(following.publisher.store(block) for block in range(6)))
    following.questions -= 1
    following.feed.on_snapshot(snapshot, following.now)
    assert following.feed.number == 3
    following.run(BEHIND_S_MAX + 3 * TICK_S)
    assert following.agrees


def test_what_was_held_for_an_answer_that_never_came_takes_no_room_from_what_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rank_feed, "HELD_MAX", 2)
    following = Following()
    following.deliver(following.publisher.store(1), following.publisher.store(2))
    following.run(SNAPSHOT_S_MAX + 2 * TICK_S, answers=False)
    snapshot = following.publisher.snapshot()
    following.deliver(following.publisher.store(3))
    following.feed.on_snapshot(snapshot, following.now)
    assert following.agrees


@pytest.mark.parametrize("by", ["batch", "snapshot", "held batch"])
def test_a_rank_that_tells_of_too_many_blocks_is_dropped_paused_and_comes_back(by: str) -> None:
    following = current()
    too_many = range(BLOCKS_MAX + 1)
    if by == "batch":
        following.deliver(following.publisher.store(*too_many))
    elif by == "snapshot":
        following.publisher.store(*too_many)
        following.deliver(following.publisher.store(1))
        following.answer()
    else:
        following.publisher.store(3)
        following.deliver(following.publisher.store(4))
        snapshot = following.publisher.snapshot()
        following.deliver(following.publisher.store(*too_many), following.publisher.store(1))
        following.questions -= 1
        following.feed.on_snapshot(snapshot, following.now)
    assert (
        len(following.blocks),
        following.feed.current,
        following.questions,
        following.counts.drops,
    ) == (0, False, 0, 1)
    following.deliver(following.publisher.remove(*range(BLOCKS_MAX - 1)))
    following.run(OVERFULL_PAUSE_S - TICK_S)
    assert (len(following.blocks), following.questions) == (0, 0)
    following.run(2 * TICK_S)
    assert following.agrees
    assert len(following.blocks) == 2


def test_a_rank_that_stays_overfull_is_asked_once_a_pause() -> None:
    following = Following()
    following.publisher.store(*range(BLOCKS_MAX + 1))
    following.run(5 * OVERFULL_PAUSE_S)
    assert following.counts.snapshots in (5, 6)
    assert len(following.blocks) == 0


def test_what_is_dropped_gives_its_room_in_the_index_back() -> None:
    budget = BlockBudget(100)
    following = current(Following(budget=budget))
    assert budget.blocks == 2
    following.deliver(following.publisher.store(*range(BLOCKS_MAX + 1)))
    assert budget.blocks == 0


def _malformed(batch: BlockBatch) -> BlockBatch:
    return BlockBatch(
        batch.stream_id,
        batch.dp_rank,
        batch.number,
        batch.engine_unix_s,
        [*batch.changes, Stored(GPU, b"odd")],
    )


@pytest.mark.parametrize("more", [False, True])
def test_a_batch_that_is_malformed_half_way_is_mended(more: bool) -> None:
    following = current()
    with pytest.raises(ProtocolViolation):
        following.deliver(_malformed(following.publisher.store(3)))
    if more:
        following.deliver(following.publisher.store(4))
    following.run(BEHIND_S_MAX + 3 * TICK_S)
    assert following.agrees


def test_a_malformed_batch_among_the_held_ones_is_mended() -> None:
    following = Following()
    snapshot = following.publisher.snapshot()
    following.deliver(_malformed(following.publisher.store(3)), following.publisher.store(4))
    following.questions -= 1
    with pytest.raises(ProtocolViolation):
        following.feed.on_snapshot(snapshot, following.now)
    following.run(BEHIND_S_MAX + 3 * TICK_S)
    assert following.agrees


MALFORMED_SNAPSHOT = Snapshot(1, 0, 1, [b"odd"])


def test_a_malformed_snapshot_is_mended_where_the_stream_stands_further() -> None:
    following = Following()
    following.publisher.store(1, 2)
    with pytest.raises(ProtocolViolation):
        following.feed.on_snapshot(MALFORMED_SNAPSHOT, following.now)
    following.questions = 0
    following.run(SNAPSHOT_S_MAX + BEHIND_S_MAX + 3 * TICK_S)
    assert following.agrees


def test_a_malformed_snapshot_after_a_pause_is_asked_for_again() -> None:
    following = current()
    following.deliver(following.publisher.store(*range(BLOCKS_MAX + 1)))
    following.run(OVERFULL_PAUSE_S + TICK_S, answers=False)
    following.questions -= 1
    with pytest.raises(ProtocolViolation):
        following.feed.on_snapshot(MALFORMED_SNAPSHOT, following.now)
    following.deliver(following.publisher.remove(0))
    following.run(OVERFULL_PAUSE_S + SNAPSHOT_S_MAX + BEHIND_S_MAX)
    assert following.agrees


def test_a_prediction_costs_no_block_that_events_told() -> None:
    """Other ranks fill the index; a prompt routed here is one block too many."""
    budget = BlockBudget(100)
    following = current(Following(budget=budget))
    others = RankBlocks(budget, 98)
    others.store(GPU, range(1_000, 1_098))
    held = set(following.blocks.places)
    following.blocks.predict([7], until=1_000.0)
    assert set(following.blocks.places) >= held  # what events told is not given up for it
    others.clear()
    following.deliver(following.publisher.store(3))
    following.run(OVERFULL_PAUSE_S + SNAPSHOT_S_MAX + BEHIND_S_MAX)
    assert following.agrees


def test_the_engines_time_is_that_of_the_batch_applied_last() -> None:
    following = current()
    assert following.feed.engine_unix_s == 0.0
    batches: Sequence[BlockBatch] = [following.publisher.store(block) for block in (3, 4)]
    following.deliver(*batches)
    assert following.feed.engine_unix_s == batches[-1].engine_unix_s
