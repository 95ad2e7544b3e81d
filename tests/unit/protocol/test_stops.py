"""StopMatcher against matching on the whole text."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidRequest
from protocol.limits import STOP_CHARS_MAX, STOPS_MAX
from protocol.text.stops import StopMatcher

LETTERS = st.text(alphabet="ab🎉", min_size=0, max_size=40)
STOPS = st.lists(st.text(alphabet="ab🎉", min_size=1, max_size=6), min_size=1, max_size=5)


def on_whole_text(text: str, stops: list[str], *, include_stop: bool) -> tuple[str, str | None]:
    """The definition: the stop complete first; of those complete together, the first listed."""
    for end in range(len(text) + 1):
        for stop in stops:
            if text[:end].endswith(stop):
                return text[: end if include_stop else end - len(stop)], stop
    return text, None


def cut(text: str, cuts: list[int]) -> list[str]:
    bounds = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    return [text[a:b] for a, b in pairwise(bounds)]


def run(matcher: StopMatcher, chunks: list[str]) -> tuple[str, str | None]:
    emitted, matched = "", None
    for chunk in chunks:
        text, matched = matcher.feed(chunk)
        emitted += text
        if matched is not None:
            break
    return emitted + matcher.flush(), matched


@given(
    text=LETTERS,
    stops=STOPS,
    cuts=st.lists(st.integers(0, 40), max_size=8),
    include_stop=st.booleans(),
)
def test_any_chunking_gives_what_matching_on_the_whole_text_gives(
    text: str, stops: list[str], cuts: list[int], include_stop: bool
) -> None:
    expected = on_whole_text(text, stops, include_stop=include_stop)
    assert run(StopMatcher(stops, include_stop), cut(text, cuts)) == expected
    assert run(StopMatcher(stops, include_stop), list(text)) == expected


@given(text=LETTERS, stops=STOPS)
def test_only_what_could_still_become_a_stop_is_held_back(text: str, stops: list[str]) -> None:
    matcher, emitted, seen = StopMatcher(stops), "", ""
    for char in text:
        safe, matched = matcher.feed(char)
        emitted, seen = emitted + safe, seen + char
        if matched is not None:
            return
        held = seen[len(emitted) :]
        beginnings = {stop[:k] for stop in stops for k in range(1, len(stop))}
        assert held == max((b for b in beginnings if seen.endswith(b)), key=len, default="")


def test_of_stops_complete_together_the_first_listed_wins() -> None:
    assert StopMatcher(["b", "ab"]).feed("xab") == ("xa", "b")
    assert StopMatcher(["ab", "b"]).feed("xab") == ("x", "ab")


def test_the_stop_complete_first_wins_over_one_that_starts_first() -> None:
    assert StopMatcher(["abcd", "bc"]).feed("abcd") == ("a", "bc")


def test_text_after_a_stop_is_dropped() -> None:
    matcher = StopMatcher(["END"])
    assert matcher.feed("one END two") == ("one ", "END")
    assert matcher.feed("three") == ("", "END")
    assert matcher.flush() == ""


def test_without_stops_text_passes_unchanged() -> None:
    matcher = StopMatcher(["", ""])
    assert matcher.feed("anything") == ("anything", None)
    assert matcher.flush() == ""


@pytest.mark.parametrize("stops", [["x"] * (STOPS_MAX + 1), ["y" * (STOP_CHARS_MAX + 1)]])
def test_too_many_or_too_long_stops_are_the_clients_fault(stops: list[str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        StopMatcher(stops)
    assert refused.value.param == "stop"


@pytest.mark.parametrize("stop", ["]", "^", "-", "\\", "\n", "a]b"])
def test_characters_special_to_patterns_are_literal(stop: str) -> None:
    assert StopMatcher([stop]).feed(f"one{stop}two") == ("one", stop)
