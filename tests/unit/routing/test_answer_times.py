"""By when an answer must begin."""

import pytest

from frontend.routing.answer_times import ANSWERS, MARGIN, AnswerTimes


def _times(*answers: tuple[int, float]) -> AnswerTimes:
    times = AnswerTimes()
    for tokens, seconds in answers:
        times.note(tokens, seconds)
    return times


def test_while_nothing_is_known_it_may_begin_at_the_last_moment() -> None:
    assert AnswerTimes().begin_by(100.0, 0.0, 50) == 100.0
    assert _times((1, 0.0)).begin_by(100.0, 0.0, 50) == 100.0


def test_it_leaves_time_for_as_many_tokens_as_it_may_have() -> None:
    times = _times((101, 10.0), (101, 10.0))
    assert times.begin_by(100.0, 0.0, 101) == pytest.approx(100 - MARGIN * 10)
    assert times.begin_by(100.0, 0.0, 51) == pytest.approx(100 - MARGIN * 5)
    assert times.begin_by(100.0, 0.0, 1) == times.begin_by(100.0, 0.0, 0) == 100.0


def test_who_names_no_length_is_taken_to_be_as_long_as_the_longest() -> None:
    assert _times((11, 1.0), (31, 3.0)).begin_by(100.0, 0.0, 32_000) == pytest.approx(
        100 - MARGIN * 3
    )


def test_half_of_its_time_is_everybodys_own() -> None:
    assert _times((101, 10.0)).begin_by(8.0, 6.0, 101) == pytest.approx(7.0)


def test_the_latest_count() -> None:
    times = _times(*[(101, 100.0)] * ANSWERS, *[(101, 1.0)] * ANSWERS)
    assert times.begin_by(100.0, 0.0, 101) == pytest.approx(100 - MARGIN)
