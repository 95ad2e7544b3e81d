"""Patterns match where Python's `re` says, at a cost that no pattern and no text can raise."""

import re
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import InvalidRequest
from protocol.text.pattern_automaton import ANCHORS_MAX, JUMPS_MAX, STATES_MAX
from protocol.text.stop_patterns import PatternWatch, pattern_automaton

ATOMS = [
    "a",
    "b",
    "A",
    ".",
    "[ab]",
    "[^a]",
    r"\d",
    r"\W",
    r"[^\d]",
    r"[\sb]",
    "k",
    "\n",
    r"\b",
    r"\B",
    "^",
    "$",
    r"\A",
    r"\Z",
]
REPEATS = ["?", "*", "+", "??", "*?", "{0}", "{2}", "{0,2}", "{1,3}", "{2,}"]
FLAGS = ["(?i:", "(?s:", "(?m:", "(?a:", "(?:", "(", "(?P<n>"]


def larger(patterns: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(patterns, patterns).map("".join),
        st.tuples(patterns, patterns).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(patterns, st.sampled_from(REPEATS)).map(lambda two: f"(?:{two[0]}){two[1]}"),
        st.tuples(st.sampled_from(FLAGS), patterns).map(lambda two: f"{two[0]}{two[1]})"),
    )


PATTERNS = st.recursive(st.sampled_from(ATOMS), larger, max_leaves=8)
TEXTS = st.lists(st.text(alphabet="aabbA1 \n_Kſkß", min_size=1, max_size=3), max_size=8)  # noqa: RUF001


@settings(max_examples=250)
@given(st.lists(PATTERNS, min_size=1, max_size=3), TEXTS)
def test_a_match_is_found_with_the_piece_that_completes_it(
    patterns: list[str], pieces: list[str]
) -> None:
    try:
        watch = PatternWatch(pattern_automaton(tuple(patterns)))
    except InvalidRequest:
        return
    matchers = [re.compile(pattern) for pattern in patterns]
    for piece, text in zip(pieces, accumulate(pieces), strict=True):
        found = watch.feed(piece)
        if re.search(r"\n", text) and any("$" in pattern for pattern in patterns):
            # for `re` the place before a last line feed is an end, also if more is matched behind
            # it
            return
        # not `search`, which looks for where "(?a:...)" may begin as if it were of all Unicode
        # (CPython 3.11: `re.search(r"(?a:\W)", "ß")` is None)
        matching = [
            pattern
            for pattern, matcher in zip(patterns, matchers, strict=True)
            if any(matcher.match(text, at) for at in range(len(text) + 1))
        ]
        assert (found is not None) == bool(matching)
        if found is not None:
            assert found in matching
            return


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a)\1", "refers"),
        ("(?=a)b", "refers"),
        ("(?>a|b)", "refers"),
        ("(", "is no regular expression"),
        ("[", "is no regular expression"),
        ("[[a]", "is no regular expression"),
        ("^", "nothing at all"),
        ("(?:)", "nothing at all"),
        ("é" * 200, "longer"),
        ("a{99999999999999999999}", "is no regular expression"),
        ("(a{100}){100}", "too many states"),
        ("((?:){9999}){9999}a", "too many states"),
        ("(?L)a", "is no regular expression"),
        ("(?:a?b?){99}", "too many states"),
        (r"\b" * (ANCHORS_MAX + 1) + "x", "too many states"),
    ],
)
def test_what_is_no_pattern_or_too_large_is_refused_with_the_reason(
    pattern: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(reason)) as raised:
        pattern_automaton(("[x]", pattern))
    assert raised.value.param == "stop_regex"


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        (["(?:a?){12}b"] * 4 + ["[^b]{511}c"], "a" * 600),
        (["(a{1,20}){1,20}b", "(a|a){1,30}b"], "a" * 600),
        (["(a+)+$b", "(.*)*x"], "a" * 600),
        (["a[ab]{500}c"], "ab" * 600),
    ],
)
def test_what_takes_a_backtracking_matcher_for_ever_takes_a_step_a_character(
    patterns: list[str], text: str
) -> None:
    automaton = pattern_automaton(tuple(patterns))
    assert automaton.accepting.bit_length() <= STATES_MAX
    assert len(automaton._jumps) <= JUMPS_MAX  # what a step looks at
    assert PatternWatch(automaton).feed(text) is None


def test_patterns_are_bounded_together() -> None:
    with pytest.raises(InvalidRequest, match="together"):
        pattern_automaton(tuple(f"[{number}]" + "x" * 200 for number in range(6)))


def test_the_first_listed_of_those_that_match_first_is_told() -> None:
    watch = PatternWatch(pattern_automaton(("b+", "[ab]", "a?c")))
    assert watch.feed("xa") == "[ab]"
    assert PatternWatch(pattern_automaton(("[0-9]{3}", "a*"))).feed("x") == "a*"
