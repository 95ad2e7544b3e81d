"""Predictions that meet, whose blocks are told in part, and what is kept of them meanwhile."""

import tracemalloc
from unittest.mock import patch

from hypothesis.stateful import run_state_machine_as_test

from kv_events.index import BlockBudget, RankBlocks, overlaps
from protocol.kv_stream import GPU
from tests.unit.kv_events.examples import examples
from tests.unit.kv_events.test_index import IndexModel


def test_looking_through_them_at_every_turn_changes_nothing() -> None:
    with patch("kv_events.predictions._STALE_MAX", -1_000):
        run_state_machine_as_test(IndexModel, settings=examples(100))


def test_a_prefix_renewed_for_ever_is_kept_once() -> None:
    rank = RankBlocks(BlockBudget(1 << 20), 1 << 20)
    prefix = list(range(1_000))
    tracemalloc.start()
    try:
        for turn in range(500):
            rank.predict([*prefix, 10_000 + turn], 1e9)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(rank) == 1_500
    assert kept < 1_000_000, "500 times 1,000 blocks would be four megabytes of references alone"


def test_a_prompt_that_names_a_block_twice_is_forgotten_as_a_whole() -> None:
    rank = RankBlocks(BlockBudget(100), 100)
    for prompt in ([1, 2, 1, 3], [1, 2, 1, 4]):
        rank.predict(prompt, 5.0)
    assert overlaps([rank], [1, 2, 1, 3])[0].gpu == 4
    rank.store(GPU, [1, 1])
    rank.expire(6.0)
    assert dict(rank.places) == {1: 1 << GPU}


def test_blocks_of_several_predictions_are_told_in_one_event() -> None:
    rank = RankBlocks(BlockBudget(100), 100)
    rank.predict([1, 2, 3], 5.0)
    rank.predict([1, 2, 4], 6.0)
    rank.store(GPU, [1, 2, 3])
    assert overlaps([rank], [1, 2, 4])[0].gpu == 3
    rank.expire(5.5)
    assert overlaps([rank], [1, 2, 4])[0].gpu == 3
    rank.expire(6.5)
    assert set(rank.places) == {1, 2, 3}
