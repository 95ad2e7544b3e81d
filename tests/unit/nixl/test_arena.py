"""Spans of an arena belong to one at a time."""

import gc
import weakref
from threading import Thread

from hypothesis import given
from hypothesis import strategies as st

from workers.nixl.arena import PAGE_BYTES, Arena, Span

PAGES = 16


@given(st.lists(st.integers(-PAGES, 6 * PAGE_BYTES), max_size=60))
def test_no_byte_is_lent_twice_and_none_is_lost(steps: list[int]) -> None:
    arena = Arena(PAGES * PAGE_BYTES)
    lent: list[Span] = []
    for step in steps:
        if step > 0:
            span = arena.lend(step)
            if span is not None:
                assert span.size_bytes == step
                lent.append(span)
        elif lent:
            arena.give_back(lent.pop(step % len(lent)))
        pages = [
            page
            for span in lent
            for page in range(
                span.start // PAGE_BYTES, -(-(span.start + span.size_bytes) // PAGE_BYTES)
            )
        ]
        assert len(pages) == len(set(pages))
        assert all(0 <= page < PAGES for page in pages)
        assert arena.lent_bytes == len(pages) * PAGE_BYTES
    for span in lent:
        arena.give_back(span)
    assert arena.lend(PAGES * PAGE_BYTES) == Span(0, PAGES * PAGE_BYTES)


def test_what_finds_no_room_is_not_lent() -> None:
    arena = Arena(2 * PAGE_BYTES)
    assert arena.lend(2 * PAGE_BYTES + 1) is None
    first = arena.lend(PAGE_BYTES)
    assert first is not None
    assert arena.lend(PAGE_BYTES + 1) is None
    second = arena.lend(1)
    assert second is not None
    assert arena.lend(1) is None
    back = Thread(target=arena.give_back, args=(first,))
    back.start()
    back.join()
    assert arena.lend(PAGE_BYTES) == first


def test_an_array_of_a_span_lives_as_long_as_views_of_it() -> None:
    arena = Arena(2 * PAGE_BYTES)
    span = arena.lend(10)
    assert span is not None
    arena.bytes_of(span)[:] = b"0123456789"
    lasting = arena.lasting_bytes_of(span)
    weakref.finalize(lasting, arena.give_back, span)
    view = memoryview(lasting).cast("B")[2:5]
    del lasting
    gc.collect()
    assert (view, arena.lent_bytes) == (b"234", PAGE_BYTES)
    del view
    assert arena.lent_bytes == 0
