"""Stop strings and patterns of a request; custom_params."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.api.fields.sampling import output_rules, sampling_for, stop_strings
from frontend.api.fields.schemas import CompletionRequest
from frontend.api.fields.stop_patterns import is_plain
from protocol.errors import InvalidRequest
from protocol.limits import STOPS_CHARS_MAX
from protocol.membership import ModelCard


@given(st.text(max_size=8), st.text(max_size=8))
def test_a_plain_pattern_matches_itself_and_nothing_else(pattern: str, text: str) -> None:
    if is_plain(pattern):
        found = re.search(pattern, text)
        assert (found.span() if found else None) == (
            (text.index(pattern), text.index(pattern) + len(pattern)) if pattern in text else None
        )


def test_plain_ones_are_stop_strings(card: ModelCard) -> None:
    request = CompletionRequest(
        model="m", prompt="x", max_tokens=2, stop="a", stop_regex=["end", "[.]"], no_stop_trim=True
    )
    rules = output_rules(request)
    assert (rules.stops, rules.patterns, rules.include_stop) == (("a", "end"), ("[.]",), True)
    assert sampling_for(request, card, 1).stop_regex == ["[.]"]


def test_stops_are_bounded_together() -> None:
    taken = ["x" * 1024] * (STOPS_CHARS_MAX // 1024)
    assert len(stop_strings(CompletionRequest(model="m", prompt="x", stop=taken))) == len(taken)
    with pytest.raises(InvalidRequest, match="together"):
        stop_strings(CompletionRequest(model="m", prompt="x", stop=[*taken, "y"]))


@pytest.mark.parametrize(
    "params",
    [{"a": {"b": {}}}, {"__sglang_reasoning_in_grammar": True}, {"a": [[1]]}, {"a": "x" * 20_000}],
)
def test_custom_params_are_bounded_in_depth_size_and_names(
    card: ModelCard, params: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        sampling_for(
            CompletionRequest(model="m", prompt="x", max_tokens=2, custom_params=params), card, 1
        )
    assert raised.value.param == "custom_params"


def test_custom_params_pass_as_they_are(card: ModelCard) -> None:
    params: dict[str, Any] = {"a": 1, "b": [1, "x", None], "c": {"d": 0.5}}
    assert (
        sampling_for(
            CompletionRequest(model="m", prompt="x", max_tokens=2, custom_params=params), card, 1
        ).custom_params
        == params
    )
