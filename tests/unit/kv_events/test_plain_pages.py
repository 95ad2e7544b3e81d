"""Pages taken together make the blocks that they make one by one."""

from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kv_events.block_table import BlockTable
from kv_events.plain_pages import Place, PlainPages
from kv_events.sglang_wire import AllBlocksCleared, BlockRemoved, BlockStored, Event, decode_batch
from protocol.kv_stream import Change, Cleared, unpack_hashes
from tests.unit.kv_events.examples import examples

CAPTURES = Path(__file__).parent / "captures"


class OneByOne(BlockTable):
    """A table that takes every page in its turn."""

    def _store_plain(self, *_: object) -> None:
        return None


def told(changes: list[Change]) -> list[object]:
    """What changes say, whatever the order of blocks in one of them."""
    return [
        change
        if isinstance(change, Cleared)
        else (type(change), change.medium, sorted(unpack_hashes(change.hashes)))
        for change in changes
    ]


def assert_alike(together: BlockTable, one_by_one: BlockTable, event: Event) -> None:
    assert told(together.apply(event)) == told(one_by_one.apply(event))
    assert [sorted(unpack_hashes(blocks)) for blocks in together.snapshot()] == [
        sorted(unpack_hashes(blocks)) for blocks in one_by_one.snapshot()
    ]
    assert together.orphans == one_by_one.orphans


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[Event]]:
    """Events about few pages, so that they meet again: behind any page, in any medium, known or
    not, some with tokens of pictures.
    """
    page = draw(st.sampled_from([1, 2, 4]))
    events: list[Event] = []
    known = list(range(12))
    for _ in range(draw(st.integers(1, 12))):
        hashes = draw(
            st.lists(st.sampled_from(known), min_size=1, max_size=10, unique=draw(st.booleans()))
        )
        medium = draw(st.sampled_from(["GPU", "GPU", "GPU", "CPU_PINNED", None]))
        kind = draw(st.integers(0, 9))
        if kind == 0:
            events.append(AllBlocksCleared())
        elif kind < 4:
            events.append(BlockRemoved(hashes, medium))
        else:
            token = st.integers(0, 2**62 if kind == 4 else 3)
            tokens = draw(st.lists(token, min_size=page * len(hashes), max_size=page * len(hashes)))
            parent = draw(st.none() | st.sampled_from(known))
            events.append(BlockStored(hashes, parent, [*tokens], page, medium=medium))
    return page * draw(st.sampled_from([1, 2, 4])), events


@examples(200)
@given(histories())
def test_pages_together_and_one_by_one_are_the_same(history: tuple[int, list[Event]]) -> None:
    block, events = history
    together, one_by_one = BlockTable(block), OneByOne(block)
    for event in events:
        assert_alike(together, one_by_one, event)


@pytest.mark.parametrize("pages_a_block", [1, 2, 8])
def test_recorded_events_make_the_same_blocks_either_way(pages_a_block: int) -> None:
    paths = sorted(CAPTURES.glob("*.payload.bin"))
    tables: dict[tuple[str, int | None], tuple[BlockTable, BlockTable]] = {}
    stored = 0
    for path in paths:
        batch = decode_batch(path.read_bytes())
        for event in batch.events:
            if isinstance(event, BlockStored):
                block = event.block_size * pages_a_block
                key = path.name.split("_")[0], batch.attn_dp_rank
                pair = tables.setdefault(key, (BlockTable(block), OneByOne(block)))
                assert_alike(*pair, event)
                stored += 1
            elif pair := tables.get((path.name.split("_")[0], batch.attn_dp_rank)):
                assert_alike(*pair, event)
    assert stored


def test_a_page_that_is_told_twice_changes_nothing_of_the_others() -> None:
    pages, before = PlainPages(2), Place(0)
    assert pages.store([1], array("I", [1, 2]), 2, before) is not None
    assert pages.store([5, 1, 6], array("I", range(6)), 2, before) is None
    assert pages.store([7, 7], array("I", range(4)), 2, before) is None
    assert len(pages) == 1


def test_pages_of_another_size_are_not_taken_together() -> None:
    pages, before = PlainPages(4), Place(0)
    assert pages.store([1, 2], array("I", range(4)), 2, before) is not None
    assert pages.store([3], array("I", range(4)), 4, before) is None
    assert len(pages) == 2
