"""What a template is told of the effort that a client asks for."""

from typing import Any

import pytest
from msgspec.structs import replace

from frontend.api.fields.nvext import NvExt
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.fields.thinking import template_kwargs, thinking_budget
from protocol.errors import UnsupportedParameter
from protocol.membership import ModelCard

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(("effort", "thinks"), [("none", False), ("minimal", True), ("high", True)])
def test_every_name_that_templates_have_for_it_is_set(effort: str, thinks: bool) -> None:
    request = ChatCompletionRequest(model="m", messages=MESSAGES, reasoning_effort=effort)  # type: ignore[arg-type]
    assert template_kwargs(request) == {
        "reasoning_effort": effort,
        "thinking": thinks,
        "enable_thinking": thinks,
    }


def test_what_the_client_tells_the_template_itself_wins() -> None:
    request = ChatCompletionRequest(
        model="m",
        messages=MESSAGES,
        reasoning_effort="high",
        chat_template_kwargs={"enable_thinking": False},
    )
    assert template_kwargs(request) == {
        "reasoning_effort": "high",
        "thinking": True,
        "enable_thinking": False,
    }


def test_nothing_asked_nothing_told() -> None:
    assert template_kwargs(ChatCompletionRequest(model="m", messages=MESSAGES)) == {}


BUDGETS: list[tuple[str, dict[str, Any]]] = [
    ("thinking_token_budget", {"thinking_token_budget": 5}),
    ("max_thinking_tokens", {"max_thinking_tokens": 5}),
    ("nvext.max_thinking_tokens", {"nvext": NvExt(max_thinking_tokens=5)}),
]


@pytest.mark.parametrize(("field", "fields"), BUDGETS)
def test_a_budget_is_told_where_workers_keep_it_and_refused_elsewhere(
    card: ModelCard, field: str, fields: dict[str, Any]
) -> None:
    request = ChatCompletionRequest(model="m", messages=MESSAGES, **fields)
    bounding = replace(card, reasoning_parser="qwen3", bounds_thinking=True)
    assert thinking_budget(request, bounding) == {"thinking_budget": 5}
    for other, where in ((request, card), (replace(request, separate_reasoning=False), bounding)):
        with pytest.raises(UnsupportedParameter) as raised:
            thinking_budget(other, where)
        assert raised.value.param == field


def test_a_completion_has_no_thinking_to_bound(card: ModelCard) -> None:
    request = CompletionRequest(model="m", prompt="x", nvext=NvExt(max_thinking_tokens=5))
    with pytest.raises(UnsupportedParameter):
        thinking_budget(request, replace(card, reasoning_parser="qwen3", bounds_thinking=True))
    assert thinking_budget(replace(request, nvext=None), card) == {}
