"""A silence is explained by what steps of the same size took of late, within bounds."""

from workers.diffusion.pace import FIRST_STEP_S_MAX, SLOWER_MAX, STEP_S_MAX, STEP_S_MIN, Pace


def _stepped(step_s: float, units: float = 1.0, steps: int = 3) -> tuple[Pace, float]:
    pace, now = Pace(), 1_000.0
    pace.begin(units, now)
    for _ in range(steps):
        now += step_s
        pace.note_step(now)
    return pace, now


def test_before_the_first_step_a_model_may_be_loaded() -> None:
    pace, now = _stepped(1.0)
    pace.begin(1.0, now)
    assert pace.explains(now + FIRST_STEP_S_MAX)
    assert not pace.explains(now + FIRST_STEP_S_MAX + 1)


def test_short_steps_are_allowed_a_while_all_the_same() -> None:
    pace, now = _stepped(0.1)
    assert pace.explains(now + STEP_S_MIN - 1)
    assert not pace.explains(now + STEP_S_MIN + 1)


def test_long_steps_may_be_longer_and_longer_still_where_there_is_more_to_do() -> None:
    pace, now = _stepped(20.0)
    assert pace.explains(now + SLOWER_MAX * 20.0)
    assert not pace.explains(now + SLOWER_MAX * 20.0 + 1)
    pace.begin(2.0, now)
    pace.note_step(now)
    assert pace.explains(now + SLOWER_MAX * 40.0)
    assert not pace.explains(now + SLOWER_MAX * 40.0 + 1)


def test_no_step_may_be_endless() -> None:
    pace, now = _stepped(300.0)
    assert pace.explains(now + STEP_S_MAX)
    assert not pace.explains(now + STEP_S_MAX + 1)


def test_a_slow_step_is_forgotten() -> None:
    pace, now = _stepped(60.0)
    assert pace.explains(now + 300.0)
    for _ in range(100):
        now += 1.0
        pace.note_step(now)
    assert not pace.explains(now + 300.0)


def test_what_stood_still_and_was_given_up_is_doubted_until_it_is_heard() -> None:
    pace, now = _stepped(0.1)
    pace.give_up(now + STEP_S_MIN - 1)  # which was nobody's fault
    pace.begin(1.0, now)
    assert pace.explains(now + 1)
    pace.note_step(now)
    pace.give_up(now + STEP_S_MIN + 1)
    pace.begin(1.0, now)
    assert not pace.explains(now + 1)
    pace.note_step(now)
    assert pace.explains(now + 1)
    pace.give_up(now + STEP_S_MIN + 1)
    pace.trust()
    assert pace.explains(now + 1)
