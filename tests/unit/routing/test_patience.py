"""How many may wait: a surge, a flood, and what is not known yet."""

from hypothesis import given
from hypothesis import strategies as st

from frontend.routing.patience import ARRIVALS, WAITING_MIN, Patience

SHARE = 0.25


def _busy(share: float = SHARE, *, running: int = 400, whole_s: float = 1.0) -> Patience:
    patience = Patience(share)
    for _ in range(50):
        patience.note_sent()
        patience.note_end(whole_s)
    for _ in range(running):
        patience.note_sent()
    return patience


def _arrive(patience: Patience, per_s: float, until: float = 10.0) -> float:
    for index in range(ARRIVALS):
        patience.note_arrival(until - (ARRIVALS - index) / per_s)
    return until


def test_a_surge_may_wait_for_a_share_of_a_requests_duration() -> None:
    patience = _busy()
    assert patience.waiting_max(_arrive(patience, per_s=400)) == 400 * SHARE


def test_in_a_flood_nobody_waits_until_it_has_been_over_for_a_while() -> None:
    patience = _busy()
    now = _arrive(patience, per_s=4000)
    assert patience.waiting_max(now) == 0
    assert patience.waiting_max(now + SHARE * 0.9) == 0  # one pause of the generator is not the end
    assert patience.waiting_max(now + SHARE * 1.1) == 400 * SHARE


def test_before_anything_is_known_some_may_wait() -> None:
    assert Patience(SHARE).waiting_max(0.0) == WAITING_MIN


@given(st.integers(0, 500), st.floats(0.001, 10), st.floats(0.1, 1e5))
def test_never_do_more_wait_than_in_a_surge(running: int, whole_s: float, per_s: float) -> None:
    patience = _busy(running=running, whole_s=whole_s)
    assert 0 <= patience.waiting_max(_arrive(patience, per_s)) <= max(1, running * SHARE)
