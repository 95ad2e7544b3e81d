"""What was made is read once and rightly, or comes in frames: whatever is late, lost or full."""

import asyncio
import gc
from collections.abc import Callable
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.media_plane import Encodings, Taken
from tests.unit.encoding.encoder_bench import on_virtual_time
from tests.unit.nixl.plane_bench import ADDRESS, PLACE, SIZE, Plane, numbered, same
from workers.nixl import offers, reads

LONG_S = 1_000.0
"""All that has an end has ended then."""

COARSE_S = 0.05
"""Between two looks at what takes up to a minute of virtual time: a thousand a second are as many
turns of the loop.
"""


@pytest.fixture(autouse=True, scope="module")
def offered_whatever_its_size() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offers, "OFFERED_BYTES_MIN", {False: 1})
        yield


def nothing_is_held(plane: Plane) -> bool:
    """Nothing is left in either memory but what somebody still has."""
    plane.answered.clear()
    gc.collect()
    return (plane.encoder.arena.lent_bytes, plane.fetcher.arena.lent_bytes, len(plane.offers)) == (
        0,
        0,
        0,
    )


@on_virtual_time
async def test_it_is_read_and_nothing_is_left() -> None:
    plane = Plane()
    assert plane.offers.offer(numbered(1), plane.reads.place_for(ADDRESS), plane.send)
    assert len(plane.offers) == 1
    await asyncio.sleep(0.01)
    assert same(plane.of(1), 1)
    assert (plane.said, plane.frames, plane.less) == (["read"], [], 1)
    assert plane.fetcher.arena.lent_bytes > 0  # as long as somebody has it
    assert nothing_is_held(plane)


@on_virtual_time
async def test_readers_are_let_on_as_long_as_there_are_any() -> None:
    plane = Plane()
    plane.fetcher.hand.takes_s = 0.1
    plane.offers.offer(numbered(1), PLACE, plane.send)
    await asyncio.sleep(1)
    helped = plane.encoder.hand.helped
    assert helped > 50
    await asyncio.sleep(1)
    assert plane.encoder.hand.helped == helped


@pytest.mark.parametrize("reads_in", ["", "elsewhere"])
def test_who_cannot_read_here_is_offered_nothing(reads_in: str) -> None:
    plane = Plane()
    assert not plane.offers.offer(numbered(1), reads_in, plane.send)


def test_what_is_small_or_finds_no_room_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Plane(encoder_bytes=SIZE // 2).offers.offer(numbered(1), PLACE, lambda _: True)
    assert not Plane().offers.offer(Encodings("1" * 32, failure="none"), PLACE, lambda _: True)
    monkeypatch.setattr(offers, "OFFERED_BYTES_MIN", {False: 2 * SIZE})
    assert not Plane().offers.offer(numbered(1), PLACE, lambda _: True)


@on_virtual_time
async def test_an_agent_that_is_not_there_yet_is_not_waited_for() -> None:
    plane = Plane()
    plane.encoder.place = plane.fetcher.place = ""
    assert plane.reads.place_for(ADDRESS) == ""
    assert not plane.offers.offer(numbered(1), PLACE, plane.send)


def _full(plane: Plane) -> None:
    assert plane.fetcher.arena.lend(1 << 20) is not None


def _unreachable(plane: Plane) -> None:
    plane.fetcher.hand.unreachable = True


def _failing(plane: Plane) -> None:
    plane.fetcher.hand.fails = True


@pytest.mark.parametrize(
    ("broken", "rests"), [(_full, False), (_unreachable, True), (_failing, True)]
)
def test_what_cannot_be_read_comes_in_frames(
    broken: Callable[[Plane], None], *, rests: bool
) -> None:
    @on_virtual_time
    async def run() -> None:
        plane = Plane()
        broken(plane)
        plane.offers.offer(numbered(1), PLACE, plane.send)
        await asyncio.sleep(0.1)
        assert same(plane.of(1), 1)
        assert plane.said == ["failed"]
        assert len(plane.offers) == plane.encoder.arena.lent_bytes == 0
        assert plane.reads.place_for(ADDRESS) == ("" if rests else PLACE)
        assert plane.reads.place_for("tcp://127.0.0.1:2") == PLACE
        await asyncio.sleep(reads.RESTS_S)
        assert plane.reads.place_for(ADDRESS) == PLACE

    run()


@on_virtual_time
async def test_what_is_late_comes_in_frames_and_its_memory_is_kept_until_it_ends() -> None:
    plane = Plane()
    plane.fetcher.hand.takes_s = reads.READ_S_MAX + 2
    plane.offers.offer(numbered(1), PLACE, plane.send)
    await asyncio.sleep(reads.READ_S_MAX + 1)
    assert same(plane.of(1), 1)
    assert plane.said == ["late"]
    assert len(plane.offers) == 1
    assert plane.encoder.arena.lent_bytes > 0
    assert plane.fetcher.arena.lent_bytes > 0
    await asyncio.sleep(2)
    assert plane.said == ["late", "ended"]
    assert same(plane.of(1), 1)
    assert nothing_is_held(plane)


@on_virtual_time
async def test_what_never_ends_keeps_the_readers_memory_for_good_and_not_the_other_ones() -> None:
    plane = Plane(fetcher_bytes=2 * SIZE)
    plane.fetcher.hand.takes_s = 10**6
    for number in range(1, 5):
        plane.offers.offer(numbered(number), PLACE, plane.send)
    await asyncio.sleep(LONG_S)
    assert all(same(plane.of(number), number) for number in range(1, 5))
    assert plane.said.count("late") == 1  # and there was no room for the others
    assert plane.encoder.arena.lent_bytes == 0
    assert plane.fetcher.arena.lent_bytes > 0


@on_virtual_time
async def test_a_reader_that_says_nothing_is_sent_frames_in_the_end() -> None:
    plane = Plane()
    plane.delays_s = [10**6]  # of the offer itself
    plane.offers.offer(numbered(1), PLACE, plane.send)
    await asyncio.sleep(offers.LEASE_S_MAX + 1)
    assert same(plane.of(1), 1)
    assert nothing_is_held(plane)


@on_virtual_time
async def test_what_was_read_after_its_memory_was_anothers_is_not_taken() -> None:
    plane = Plane(encoder_bytes=SIZE + 4_096)
    plane.delays_s = [0.0, LONG_S]  # the reader's word comes when nobody believes it any more
    plane.offers.offer(numbered(1), PLACE, plane.send)
    await asyncio.sleep(1)
    assert plane.said == ["read"]
    assert plane.of(1) == []
    await asyncio.sleep(offers.LEASE_S_MAX)
    assert same(plane.of(1)[:1], 1)
    assert plane.frames == [f"{1:032x}"]
    await asyncio.sleep(LONG_S)
    assert all(each.failure for each in plane.of(1)[1:])  # which nobody waits for any more


@on_virtual_time
async def test_a_word_that_does_not_come_is_not_waited_for() -> None:
    plane = Plane()
    plane.delays_s = [0.0, 0.0, LONG_S]
    plane.offers.offer(numbered(1), PLACE, plane.send)
    await asyncio.sleep(reads.GRANT_S_MAX + 1)
    assert plane.said == ["read", "failed"]
    assert [bool(each.failure) for each in plane.of(1)] == [True]
    assert nothing_is_held(plane)


@on_virtual_time
async def test_another_worker_at_the_same_address_vouches_for_nothing() -> None:
    plane, other = Plane(), Plane()
    plane.delays_s = [0.0, 0.5]
    plane.offers.offer(numbered(1), PLACE, plane.send)
    await asyncio.sleep(0.1)
    assert plane.said == ["read"]
    plane.offers = other.offers
    await asyncio.sleep(1)
    [answer] = plane.of(1)
    assert answer.failure


@on_virtual_time
async def test_a_word_about_nothing_is_answered_and_costs_nothing() -> None:
    plane = Plane()
    for outcome in ("read", "failed", "late"):
        plane.offers.take(Taken("1" * 32, 7, outcome), plane.send)
    plane.offers.take(Taken("1" * 32, 7, "ended"), plane.send)
    plane.reads.take(ADDRESS, Encodings("1" * 32, granted=9), plane.tell)
    await asyncio.sleep(1)
    assert [bool(each.failure) for each in plane.answered] == [True] * 3


@on_virtual_time
async def test_what_is_closed_holds_nothing_back() -> None:
    plane = Plane()
    plane.fetcher.hand.takes_s = 1.0
    plane.offers.offer(numbered(1), PLACE, plane.send)
    await asyncio.sleep(0.5)
    plane.reads.close()
    plane.offers.close()
    await asyncio.sleep(LONG_S)
    assert plane.answered == []
    assert len(plane.offers) == 0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.5, 3.0, 6.0, 9.0, 12.0, 40.0]),  # how long the read takes
            st.booleans(),  # whether it fails
            st.sampled_from([0.0, 0.5, 6.0, 11.0, 30.0]),  # until the next one is asked for
        ),
        min_size=1,
        max_size=8,
    ),
    st.lists(st.sampled_from([0.0, 0.0, 0.3, 5.5, 11.0]), max_size=30),
)
@on_virtual_time
async def test_no_answer_is_ever_anothers(
    asked: list[tuple[float, bool, float]], delays_s: list[float]
) -> None:
    plane = Plane(encoder_bytes=2 * (SIZE + 4_096), fetcher_bytes=2 * (SIZE + 4_096))
    plane.delays_s = delays_s
    with patch.object(reads, "POLL_S", COARSE_S), patch.object(offers, "GO_ON_S", COARSE_S):
        await ask_all(plane, asked)
    for number in range(1, len(asked) + 1):
        answers = plane.of(number)
        assert answers, "nobody waits for ever"
        for each in answers:
            assert each.failure or each.encodings == numbered(number).encodings
        del answers
        each = None
    assert nothing_is_held(plane)


async def ask_all(plane: Plane, asked: list[tuple[float, bool, float]]) -> None:
    """Ask for one after the other, and wait until whatever may come has come."""
    for number, (takes_s, fails, pause_s) in enumerate(asked, 1):
        plane.fetcher.hand.takes_s, plane.fetcher.hand.fails = takes_s, fails
        if not plane.offers.offer(numbered(number), plane.reads.place_for(ADDRESS), plane.send):
            plane.send(numbered(number))
        await asyncio.sleep(pause_s)
    await asyncio.sleep(LONG_S)
