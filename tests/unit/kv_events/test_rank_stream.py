"""One rank's numbered stream: nothing is published without a change, and what makes no sense costs
what was known.
"""

from kv_events.rank_stream import WAITING_MAX, RankStream
from kv_events.sglang_wire import BlockRemoved, BlockStored
from protocol.kv_stream import BlockBatch, Cleared, Removed, Stored, unpack_hashes

GOOD = BlockStored([1, 2], None, [1, 2, 3, 4], 2)


def stream() -> tuple[RankStream, list[BlockBatch]]:
    """A stream whose changes leave at once."""
    rank, batches = patient_stream()
    rank._soon = rank.leave
    return rank, batches


def patient_stream() -> tuple[RankStream, list[BlockBatch]]:
    """A stream whose changes leave when they must."""
    batches: list[BlockBatch] = []
    rank = RankStream(7, 3, block_size_tokens=4, publish=batches.append, soon=lambda: None)
    return rank, batches


def test_batches_are_numbered_from_one_and_carry_the_engines_time() -> None:
    rank, batches = stream()
    rank.on_events([GOOD], 1.5)
    rank.on_events([BlockRemoved([2])], 2.5)
    assert [
        (batch.stream_id, batch.dp_rank, batch.number, batch.engine_unix_s) for batch in batches
    ] == [(7, 3, 1, 1.5), (7, 3, 2, 2.5)]
    assert rank.snapshot().number == rank.number == 2


def test_pages_that_complete_no_block_are_not_told() -> None:
    rank, batches = stream()
    rank.on_events([BlockStored([1], None, [1, 2], 2)], 1.5)
    assert (batches, rank.number) == ([], 0)
    rank.on_events([BlockStored([2], 1, [3, 4], 2)], 1.5)
    assert [type(change) for change in batches[0].changes] == [Stored]


def test_an_event_that_makes_no_sense_clears_the_rank_and_the_next_ones_count_again() -> None:
    rank, batches = stream()
    rank.on_events([GOOD], 1.0)
    # pages of three tokens do not divide blocks of four
    rank.on_events([BlockStored([9], None, [1, 2, 3], 3), GOOD], 2.0)
    assert [type(change) for change in batches[1].changes] == [Cleared, Stored]
    assert len(unpack_hashes(rank.snapshot().hashes[0])) == 1


def test_a_loss_clears_the_rank() -> None:
    rank, batches = stream()
    rank.on_lost()
    assert (batches[0].changes, batches[0].number) == ([Cleared()], 1)


def test_changes_that_wait_leave_in_one_batch_in_their_order_with_the_time_of_the_first() -> None:
    rank, batches = patient_stream()
    rank.on_events([GOOD], 1.5)
    rank.on_events([BlockRemoved([2])], 2.5)
    assert batches == []
    rank.leave()
    rank.leave()
    assert [(batch.number, batch.engine_unix_s) for batch in batches] == [(1, 1.5)]
    assert [type(change) for change in batches[0].changes] == [Stored, Removed]


def test_who_has_a_snapshot_is_told_nothing_of_it_again() -> None:
    rank, batches = patient_stream()
    rank.on_events([GOOD], 1.5)
    snapshot = rank.snapshot()
    assert (snapshot.number, len(unpack_hashes(snapshot.hashes[0]))) == (1, 1)
    rank.on_events([BlockRemoved([2])], 2.5)
    rank.leave()
    assert [batch.number for batch in batches] == [1, 2]


def test_no_more_than_so_many_changes_wait() -> None:
    rank, batches = patient_stream()
    for _ in range(WAITING_MAX // 2):
        rank.on_events([GOOD, BlockRemoved([2])], 1.5)
    assert batches == []
    rank.on_events([GOOD], 2.5)
    assert [len(batch.changes) for batch in batches] == [WAITING_MAX + 1]
