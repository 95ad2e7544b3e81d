"""How many may wait: a surge, a flood, and what is not known yet."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from frontend.routing.patience import ARRIVALS, SURGE_SHARE, WAITING_MIN, Patience


def _busy(ratio: float = 0.5, *, running: int = 400, first_s: float = 0.1, whole_s: float = 1.0, ended: int = 50) -> Patience:
    patience = Patience(ratio)
    for _ in range(ended):
        patience.note_sent()
        patience.note_first_token(first_s)
        patience.note_end(whole_s)
    for _ in range(running):
        patience.note_sent()
    return patience


def _arrive(patience: Patience, per_s: float, until: float = 10.0) -> float:
    for index in range(ARRIVALS):
        patience.note_arrival(until - (ARRIVALS - index) / per_s)
    return until


def test_a_surge_may_wait_for_a_part_of_a_requests_duration() -> None:
    patience = _busy()
    assert patience.waiting_max(_arrive(patience, per_s=400)) == 400 * SURGE_SHARE


def test_in_a_flood_a_wait_is_shorter_than_the_usual_time_to_the_first_token() -> None:
    patience = _busy()
    now = _arrive(patience, per_s=4000)
    assert patience.waiting_max(now) == 400 * 0.5 * 0.1  # 20 requests, and 400 leave a second: 50 ms of the 100 usual
    assert patience.waiting_max(now + 1) == 400 * SURGE_SHARE  # a second without arrivals is the end of it


def test_in_a_flood_nobody_waits_where_places_are_few() -> None:
    patience = _busy(running=16)
    assert patience.waiting_max(_arrive(patience, per_s=400)) == 0


def test_without_streams_a_flood_is_a_surge() -> None:
    patience = Patience(0.5)
    for _ in range(20):
        patience.note_sent()
        patience.note_end(1.0)
    for _ in range(40):
        patience.note_sent()
    assert patience.waiting_max(_arrive(patience, per_s=4000)) == 40 * SURGE_SHARE


def test_before_anything_is_known_some_may_wait_and_without_a_ratio_any_number() -> None:
    assert Patience(0.5).waiting_max(0.0) == WAITING_MIN
    assert _busy(0.0).waiting_max(0.0) == inf


@given(st.integers(0, 500), st.floats(0.001, 10), st.floats(0.001, 10), st.floats(0.1, 1e5))
def test_a_flood_never_lets_more_wait_than_a_surge(running: int, first_s: float, whole_s: float, per_s: float) -> None:
    patience = _busy(running=running, first_s=first_s, whole_s=whole_s)
    calm = patience.waiting_max(0.0)
    assert 0 <= patience.waiting_max(_arrive(patience, per_s)) <= calm
