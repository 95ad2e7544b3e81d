"""Patterns that may reach an engine's scheduler are searched in no time, whatever the text is."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.api.sampling import output_rules, sampling_for
from frontend.api.schemas import CompletionRequest
from frontend.api.stop_patterns import MATCH_CHARS_MAX, check_stop_patterns, is_plain
from protocol.errors import InvalidRequest
from protocol.membership import ModelCard


@pytest.mark.parametrize("pattern", [r"\d{1,3}\.", "[.!?]", r"(foo|bar){1,2}", r"\n\n", "^Q", "a?b", r"\bend\b", "[^a-z]{2}", "(?i:stop)"])
def test_bounded_patterns_are_taken(pattern: str) -> None:
    check_stop_patterns([pattern])


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a+", "without a bound"),
        (".*x", "without a bound"),
        ("(a{1,20}){1,20}b", "too many ways"),
        ("a?" * 60 + "a" * 60, "too many ways"),
        ("(a|a){1,30}b", "too many ways"),
        ("a{600}", "without a bound"),
        ("(a{100}){100}", f"at most {MATCH_CHARS_MAX}"),
        (r"(a)\1", "refers"),
        ("(?=a)b", "refers"),
        ("(", "is no regular expression"),
        ("[", "is no regular expression"),
        ("^", "nothing at all"),
        ("é" * 200, "longer"),
        ("a{99999999999999999999}", "is no regular expression"),
    ],
)
def test_others_are_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(reason)) as raised:
        check_stop_patterns(["x", pattern])
    assert raised.value.param == "stop_regex"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab()|?*+{}1,29[]^$.\\", max_size=24))
def test_any_text_is_a_pattern_or_the_clients_error(pattern: str) -> None:
    try:
        check_stop_patterns([pattern])
    except InvalidRequest:
        return
    re.search(pattern, "ab" * 400)  # returns soon


@given(st.text(max_size=8), st.text(max_size=8))
def test_a_plain_pattern_matches_itself_and_nothing_else(pattern: str, text: str) -> None:
    if is_plain(pattern):
        found = re.search(pattern, text)
        assert (found.span() if found else None) == ((text.index(pattern), text.index(pattern) + len(pattern)) if pattern in text else None)


def test_plain_ones_are_stop_strings_and_the_others_the_engines(card: ModelCard) -> None:
    request = CompletionRequest(model="m", prompt="x", max_tokens=2, stop="a", stop_regex=["end", "[.]"], no_stop_trim=True)
    rules = output_rules(request)
    assert (rules.stops, rules.include_stop) == (("a", "end"), True)
    assert sampling_for(request, card, 1).stop_regex == ["[.]"]


@pytest.mark.parametrize("params", [{"a": {"b": {}}}, {"__sglang_reasoning_in_grammar": True}, {"a": [[1]]}, {"a": "x" * 20_000}])
def test_custom_params_are_bounded_in_depth_size_and_names(card: ModelCard, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        sampling_for(CompletionRequest(model="m", prompt="x", max_tokens=2, custom_params=params), card, 1)
    assert raised.value.param == "custom_params"


def test_custom_params_pass_as_they_are(card: ModelCard) -> None:
    params: dict[str, Any] = {"a": 1, "b": [1, "x", None], "c": {"d": 0.5}}
    assert sampling_for(CompletionRequest(model="m", prompt="x", max_tokens=2, custom_params=params), card, 1).custom_params == params
