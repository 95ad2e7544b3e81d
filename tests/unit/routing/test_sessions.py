"""Sessions that several processes know of."""

from frontend.routing.sessions import RankKey, Sessions

HERE: RankKey = ("w0", 0)
ELSEWHERE: RankKey = ("w1", 3)


def test_news_are_told_when_they_are_news_and_before_they_are_forgotten() -> None:
    told: list[tuple[str, RankKey]] = []
    sessions = Sessions(10.0)
    sessions.on_news = lambda *news: told.append(news)
    for now in (0.0, 1.0, 4.9):
        sessions.note("ada", HERE, now)
    assert told == [("ada", HERE)]
    sessions.note("ada", HERE, 5.0)
    assert told == [("ada", HERE)] * 2
    sessions.note("ada", ELSEWHERE, 5.1)
    assert told[2:] == [("ada", ELSEWHERE)]


def test_what_is_heard_counts_and_is_not_told_on() -> None:
    told: list[tuple[str, RankKey]] = []
    sessions = Sessions(10.0)
    sessions.on_news = lambda *news: told.append(news)
    sessions.heard("ada", ELSEWHERE, 0.0)
    assert sessions.rank_of("ada", 9.0) == ELSEWHERE
    sessions.note("ada", ELSEWHERE, 1.0)
    assert told == []
    assert sessions.rank_of("ada", 10.5) == ELSEWHERE


def test_without_a_lifetime_nothing_is_kept_or_told() -> None:
    sessions = Sessions(0.0)
    sessions.on_news = lambda *_: (_ for _ in ()).throw(AssertionError("told"))
    sessions.note("ada", HERE, 0.0)
    sessions.heard("ada", HERE, 0.0)
    assert sessions.rank_of("ada", 0.0) is None
