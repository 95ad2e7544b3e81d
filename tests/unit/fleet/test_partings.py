"""Workers between which a hand-over failed are kept apart for a while, and named once a minute."""

import logging

import pytest

from frontend.fleet.partings import (
    APART_S,
    NOBODY,
    PARTINGS_MAX,
    REMEMBERED_S,
    VAIN_MAX,
    VAIN_S,
    Partings,
)

PAIR = "p", "d"
NOW = 1_000.0


@pytest.fixture
def partings() -> Partings:
    return Partings()


def test_a_pair_is_kept_apart_for_a_while_and_no_other(partings: Partings) -> None:
    assert partings.apart(NOW) is NOBODY
    partings.note(PAIR, 0.0, NOW)
    partings.note(("p", "d2"), 0.0, NOW + 1)
    assert partings.apart(NOW + APART_S - 1) == {"p": {"d", "d2"}}
    assert partings.apart(NOW + APART_S) == {"p": {"d2"}}
    assert partings.apart(NOW + APART_S + 1) == {}


def test_a_second_wait_in_vain_is_the_last_of_a_request(partings: Partings) -> None:
    assert not partings.in_vain(PAIR)
    for _ in range(10):  # costs nobody anything
        partings.note(PAIR, 0.1, NOW)
    assert not partings.in_vain(PAIR)
    for number in range(VAIN_MAX):
        assert not partings.in_vain(PAIR)
        partings.note(PAIR, VAIN_S, NOW + number * VAIN_S)
    assert partings.in_vain(PAIR)


def test_waits_through_one_accident_are_one(partings: Partings) -> None:
    for late_s in range(10):  # the requests came one after the other
        partings.note(PAIR, 3 * VAIN_S, NOW + late_s)
    assert not partings.in_vain(PAIR)
    partings.note(PAIR, 3 * VAIN_S, NOW + 3 * VAIN_S)  # who was the first of them has tried again
    assert partings.in_vain(PAIR)
    partings.note(PAIR, 3 * VAIN_S, NOW + 3 * VAIN_S + 9)
    assert partings.in_vain(PAIR)


def test_a_cache_that_came_over_makes_the_next_wait_the_first(partings: Partings) -> None:
    for number in range(VAIN_MAX):
        partings.note(PAIR, VAIN_S, NOW + number * VAIN_S)
    partings.came_over(("p", "d2"))
    assert partings.in_vain(PAIR)
    partings.came_over(PAIR)
    assert not partings.in_vain(PAIR)
    assert partings.apart(NOW) == {"p": {"d"}}  # some of its ranks may have no way


def test_what_was_long_ago_is_forgotten(partings: Partings) -> None:
    for number in range(VAIN_MAX):
        partings.note(PAIR, VAIN_S, NOW + number * VAIN_S)
    assert partings.in_vain(PAIR)
    partings.apart(NOW + number * VAIN_S + REMEMBERED_S + 1)
    assert not partings.in_vain(PAIR)


@pytest.mark.parametrize("gone", PAIR)
def test_who_is_gone_comes_back_as_somebody_else(partings: Partings, gone: str) -> None:
    partings.note(PAIR, 0.0, NOW)
    partings.note(("p2", "d2"), 0.0, NOW)
    partings.forget(gone)
    assert partings.apart(NOW) == {"p2": {"d2"}}


def test_no_more_pairs_are_remembered_than_may_be(partings: Partings) -> None:
    for number in range(PARTINGS_MAX + 1):
        partings.note((str(number), "d"), 0.0, NOW)
    apart = partings.apart(NOW)
    assert (len(apart), "0" in apart, str(PARTINGS_MAX) in apart) == (PARTINGS_MAX, False, True)


def test_a_pair_is_named_once_a_minute(
    partings: Partings, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(61):
        partings.note(PAIR, 30.0, NOW + second)
    partings.note(("p", "d2"), 30.0, NOW)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 3
    assert "from worker p to worker d (1 times)" in said[0]
    assert "from worker p to worker d (60 times)" in said[1]
    assert "from worker p to worker d2 (1 times)" in said[2]
