"""Workers whose engine is starting: for how long they are known, and how many."""

import pytest

from frontend.fleet import loading as subject
from frontend.fleet.loading import LOADING_REMEMBERED_S, LoadingWorkers
from protocol.membership import Loading


def note(workers: LoadingWorkers, now: float, *names: str) -> None:
    for name in names:
        workers.note(Loading(name, "m", "loading", now), now)


def known(workers: LoadingWorkers, now: float) -> list[tuple[str, float]]:
    return [(each.worker_id, each.elapsed_s) for each in workers.known(now)]


def test_who_says_nothing_more_is_forgotten_and_who_does_is_known_by_its_last_word() -> None:
    workers = LoadingWorkers()
    note(workers, 0.0, "silent", "early", "late")
    note(workers, 1.0, "early")
    assert known(workers, 1.0) == [("silent", 0.0), ("late", 0.0), ("early", 1.0)]
    note(workers, LOADING_REMEMBERED_S, "late")
    assert known(workers, 1.0 + LOADING_REMEMBERED_S) == [
        ("early", 1.0),
        ("late", LOADING_REMEMBERED_S),
    ]
    workers.found("early")
    assert known(workers, 1.0 + LOADING_REMEMBERED_S) == [("late", LOADING_REMEMBERED_S)]


def test_as_many_as_may_be_known_stay_known_and_another_one_takes_the_place_of_who_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "LOADING_MAX", 2)
    workers = LoadingWorkers()
    note(workers, 0.0, "a", "b", "refused")
    note(workers, 4.0, "a", "refused")
    assert known(workers, 4.0) == [("b", 0.0), ("a", 4.0)]
    note(workers, 0.1 + LOADING_REMEMBERED_S, "other")
    assert [name for name, _ in known(workers, 0.1 + LOADING_REMEMBERED_S)] == ["a", "other"]
