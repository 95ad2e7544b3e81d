"""One rank's numbered stream: nothing is published without a change, and what makes no sense costs
what was known.
"""

from typing import Any

from kv_events.publisher import RankStream
from kv_events.sglang_wire import BlockRemoved, BlockStored
from protocol.kv_stream import BlockBatch, Cleared, Stored, unpack_hashes


class Published:
    """What a KvPublisher would send."""

    stream_id = 7

    def __init__(self) -> None:
        self.batches: list[BlockBatch] = []

    def publish(self, batch: BlockBatch) -> None:
        self.batches.append(batch)


def stream() -> tuple[RankStream, list[BlockBatch]]:
    published: Any = Published()
    return RankStream(published, 3, block_size_tokens=4), published.batches


def test_batches_are_numbered_from_one_and_carry_the_engines_time() -> None:
    rank, batches = stream()
    rank.on_events([BlockStored([1, 2], None, [1, 2, 3, 4], 2)], 1.5)
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
    good = BlockStored([1, 2], None, [1, 2, 3, 4], 2)
    rank.on_events([good], 1.0)
    # pages of three tokens do not divide blocks of four
    rank.on_events([BlockStored([9], None, [1, 2, 3], 3), good], 2.0)
    assert [type(change) for change in batches[1].changes] == [Cleared, Stored]
    assert len(unpack_hashes(rank.snapshot().hashes[0])) == 1


def test_a_loss_clears_the_rank() -> None:
    rank, batches = stream()
    rank.on_lost()
    assert (batches[0].changes, batches[0].number) == ([Cleared()], 1)
