import random

from frontend.observe.request_record import RequestRecord
from frontend.status.slowest import SHOWN_MAX, SLICE_S, SLICES_MAX, Slowest


def record(ended_unix_s: float, took_s: float, *, runs_model: bool = True) -> RequestRecord:
    """A request that took so long."""
    return RequestRecord(
        request_id="theirs",
        mesh_id=f"{ended_unix_s} {took_s}",
        endpoint="chat_completions",
        path="/v1/chat/completions",
        runs_model=runs_model,
        model="demo",
        streams=True,
        traceparent=None,
        came_unix_s=ended_unix_s - took_s,
        took_s=took_s,
        status=200,
        error="",
        message="",
    )


def test_the_slowest_of_the_last_minutes_are_shown_slowest_first() -> None:
    slowest, chance = Slowest(), random.Random(3)
    window_s = SLICE_S * SLICES_MAX
    took: list[tuple[float, float]] = []
    for second in range(int(3 * window_s)):
        for _ in range(5):
            took.append((1000.0 + second, round(chance.expovariate(1.0), 6)))
            slowest.note(record(*took[-1]))
    now = took[-1][0]
    first = (now // SLICE_S - SLICES_MAX + 1) * SLICE_S
    expected = sorted((seconds for at, seconds in took if at >= first), reverse=True)[:SHOWN_MAX]
    shown = slowest.shown(now)
    assert [each.took_s for each in shown] == [round(seconds, 4) for seconds in expected]
    assert slowest.shown(now + 2 * window_s) == []


def test_a_name_that_a_client_gave_is_not_shown_nor_what_runs_no_model() -> None:
    slowest = Slowest()
    slowest.note(record(1000.0, 2.0))
    slowest.note(record(1000.0, 9.0, runs_model=False))
    (shown,) = slowest.shown(1000.0)
    assert (shown.took_s, shown.request_id) == (2.0, "1000.0 2.0")
