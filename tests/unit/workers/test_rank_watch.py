"""When a rank is asked for a sign of life, and what is concluded from silence.

On a clock of our own.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.health.rank_watch import HealthLimits, RankWatch
from workers.health.tolerance import TOLERATED_S_MAX, Tolerance

DEFAULTS = HealthLimits(idle_silence_s=10.0, answer_s=3.0)
STEP_TOKENS = 8_192


@pytest.fixture
def watch() -> RankWatch:
    """A rank that was heard at 100."""
    watch = RankWatch(DEFAULTS, STEP_TOKENS)
    watch.note_output(100.0)
    return watch


def _asked(watch: RankWatch, now: float) -> None:
    assert watch.due(now)
    watch.note_sent(now)


def test_the_first_canary_is_due_at_once_and_the_rank_is_healthy_meanwhile() -> None:
    watch = RankWatch(DEFAULTS, STEP_TOKENS)
    _asked(watch, 5.0)
    watch.judge(7.0)
    assert (watch.complaint(7.0), watch.state(7.0).silence_s) == ("", None)


def test_an_idle_rank_is_asked_after_the_wait_time(watch: RankWatch) -> None:
    assert not watch.due(109.9)
    _asked(watch, 110.0)
    assert not watch.due(110.5)
    watch.note_answer(110.25)
    assert not watch.due(120.0)
    assert watch.due(120.25)
    state = watch.state(120.25)
    assert (state.ok, state.latency_s_last, state.latency_s_sum, state.silence_s) == (
        1,
        0.25,
        0.25,
        10.0,
    )


def test_a_stall_of_our_own_is_no_time_that_a_prompt_took() -> None:
    def explained_s(stall_s: float) -> float:
        watch = RankWatch(DEFAULTS, STEP_TOKENS)
        watch.note_output(91.0)
        watch.unfinished = 1
        watch.note_prompt(2_048, 100.0)
        watch.postpone(stall_s)
        watch.note_output(100.1 + stall_s)
        watch.note_prompt(2_048, 200.0 + stall_s)
        return watch._prefills.explains_s(2_048, 200.0 + stall_s)

    assert explained_s(10.0) == pytest.approx(explained_s(0.0))


def test_traffic_proves_life(watch: RankWatch) -> None:
    watch.unfinished = 1
    for tenth in range(1, 1_000):
        watch.note_output(100.0 + tenth / 10)
        assert not watch.due(100.0 + tenth / 10 + 0.9)


def test_a_freeze_in_mid_stream_is_an_alarm_after_four_seconds(watch: RankWatch) -> None:
    watch.unfinished = 1
    assert not watch.due(100.9)
    _asked(watch, 101.0)
    watch.judge(103.9)
    assert watch.complaint(103.9) == ""
    watch.judge(104.0)
    assert watch.complaint(104.0) == "has not answered for 3.0 s"


def test_a_shorter_timeout_asks_sooner() -> None:
    watch = RankWatch(HealthLimits(idle_silence_s=10.0, answer_s=0.5), STEP_TOKENS)
    watch.note_output(0.0)
    watch.unfinished = 1
    _asked(watch, 0.5)
    watch.judge(1.0)
    assert watch.complaint(1.0)


def test_an_alarm_asks_again_every_timeout_and_ends_with_any_sign_of_life(watch: RankWatch) -> None:
    _asked(watch, 110.0)
    watch.judge(113.0)
    _asked(watch, 113.0)
    watch.judge(114.0)
    assert not watch.due(115.9)
    _asked(watch, 116.0)
    assert watch.state(116.0).timeout == 2
    assert watch.complaint(116.0) == "has not answered for 6.0 s"
    watch.note_answer(116.5)
    assert watch.complaint(116.5) == ""
    assert not watch.due(120.0)


def test_a_wrong_alarm_teaches_patience(watch: RankWatch) -> None:
    _asked(watch, 110.0)
    watch.judge(113.0)
    watch.note_output(115.0)  # after five seconds
    _asked(watch, 125.0)
    watch.judge(134.0)
    assert watch.complaint(134.0) == ""
    watch.judge(135.0)
    assert watch.complaint(135.0) == "has not answered for 10.0 s"


def test_an_answer_in_time_teaches_nothing(watch: RankWatch) -> None:
    _asked(watch, 110.0)
    watch.note_answer(112.9)
    _asked(watch, 123.0)
    watch.judge(126.0)
    assert watch.complaint(126.0)


def test_a_failed_canary_is_said_asked_again_soon_and_forgotten_with_the_next_token(
    watch: RankWatch,
) -> None:
    _asked(watch, 110.0)
    watch.note_failure(110.1, "out of memory")
    assert watch.complaint(111.0) == "failed its health check: out of memory"
    assert not watch.due(112.9)
    _asked(watch, 113.0)
    watch.note_failure(113.1, "out of memory")
    watch.note_output(113.2)
    state = watch.state(113.3)
    assert (state.complaint, state.failed, state.ok) == ("", 2, 0)


def test_time_in_which_nothing_was_read_is_nobodys_silence(watch: RankWatch) -> None:
    _asked(watch, 110.0)
    watch.postpone(20.0)
    watch.judge(132.9)
    assert watch.complaint(132.9) == ""
    watch.judge(133.0)
    assert watch.complaint(133.0)


def test_what_was_learnt_fades() -> None:
    tolerance = Tolerance(3.0)
    tolerance.learn(20.0, 0.0)
    assert tolerance.at(0.0) == 40.0
    assert tolerance.at(600.0) == pytest.approx(20.0)
    assert tolerance.at(100_000.0) == 3.0


@given(
    st.lists(st.tuples(st.floats(0.0, 1e4), st.floats(0.0, 1e4)), max_size=30), st.floats(0.1, 30.0)
)
def test_tolerance_stays_within_its_bounds_and_covers_what_was_just_learnt(
    lessons: list[tuple[float, float]], least_s: float
) -> None:
    tolerance, now = Tolerance(least_s), 0.0
    for silence_s, pause_s in lessons:
        now += pause_s
        tolerance.learn(silence_s, now)
        assert tolerance.at(now) >= min(TOLERATED_S_MAX, 2 * silence_s)
        assert (
            least_s
            <= tolerance.at(now + pause_s)
            <= tolerance.at(now)
            <= max(least_s, TOLERATED_S_MAX)
        )


@given(
    st.lists(st.sampled_from(["wait", "output", "begin", "end", "answer", "fail"]), max_size=200)
)
def test_a_rank_that_answers_is_healthy_and_a_silent_one_is_found_out(moves: list[str]) -> None:
    """Whatever happened before, the verdict is right within a bounded time of silence, and with the
    next sign of life.
    """
    watch, now = RankWatch(DEFAULTS, STEP_TOKENS), 0.0
    for move in moves:
        now += 0.25
        watch.judge(now)
        if watch.due(now):
            watch.note_sent(now)
        if move == "output":
            watch.note_output(now)
            assert watch.complaint(now) == ""
        elif move == "begin":
            watch.unfinished += 1
        elif move == "end":
            watch.unfinished = max(0, watch.unfinished - 1)
        elif move == "answer" and watch.waiting:
            watch.note_answer(now)
            assert watch.complaint(now) == ""
        elif move == "fail" and watch.waiting:
            watch.note_failure(now, "no")
            assert "no" in watch.complaint(now)
    silent_since = now
    while not watch.complaint(now).startswith("has not answered"):
        assert now - silent_since <= DEFAULTS.idle_silence_s + TOLERATED_S_MAX + 1.0
        now += 0.25
        watch.judge(now)
        if watch.due(now):
            watch.note_sent(now)
    watch.note_output(now)
    assert watch.complaint(now) == ""


def _silent_for(watch: RankWatch, since: float, seconds: float) -> str:
    """The complaint after that, of a rank that is looked at four times a second and asked whenever
    it is due.
    """
    for quarter in range(int(seconds * 4) + 1):
        now = since + quarter / 4
        watch.judge(now)
        if watch.due(now):
            watch.note_sent(now)
    return watch.complaint(since + seconds)


def test_silence_is_no_alarm_while_the_prompts_to_compute_explain_it(watch: RankWatch) -> None:
    watch.unfinished = 1
    watch.note_prompt(100_000, 100.0)
    assert not _silent_for(watch, 100.0, 12.0)  # nobody knows yet how fast it is
    watch.note_answer(112.0)
    assert not _silent_for(watch, 112.0, 24.0)  # twice as long as the last step
    assert _silent_for(watch, 136.0, 2.0)
    watch.note_answer(138.0)
    watch.waiting_tokens = 0
    watch.note_output(139.0)
    assert _silent_for(watch, 139.0, 100.0)


def test_a_fast_rank_is_found_out_as_fast_with_long_prompts_as_without(watch: RankWatch) -> None:
    watch.unfinished = 1
    watch.note_prompt(100_000, 500.0)  # after a long time of nothing to do
    watch.note_output(500.5)
    assert not _silent_for(watch, 500.5, 3.75)
    assert _silent_for(watch, 504.25, 0.5)


def test_a_few_tokens_explain_nothing_and_nothing_explains_more_than_a_minute(
    watch: RankWatch,
) -> None:
    watch.unfinished, watch.waiting_tokens = 1, 1_000
    assert _silent_for(watch, 100.0, 4.5)
    slow = RankWatch(DEFAULTS, 10**6)
    slow.note_output(100.0)
    slow.unfinished, slow.waiting_tokens = 1, 10**6
    assert not _silent_for(slow, 100.0, 60.0)
    assert _silent_for(slow, 160.0, 2.0)
