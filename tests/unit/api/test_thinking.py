"""What a template is told of the effort that a client asks for."""

import pytest

from frontend.api.schemas import ChatCompletionRequest
from frontend.api.thinking import template_kwargs

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(("effort", "thinks"), [("none", False), ("minimal", True), ("high", True)])
def test_every_name_that_templates_have_for_it_is_set(effort: str, thinks: bool) -> None:
    request = ChatCompletionRequest(model="m", messages=MESSAGES, reasoning_effort=effort)  # type: ignore[arg-type]
    assert template_kwargs(request) == {"reasoning_effort": effort, "thinking": thinks, "enable_thinking": thinks}


def test_what_the_client_tells_the_template_itself_wins() -> None:
    request = ChatCompletionRequest(model="m", messages=MESSAGES, reasoning_effort="high", chat_template_kwargs={"enable_thinking": False})
    assert template_kwargs(request) == {"reasoning_effort": "high", "thinking": True, "enable_thinking": False}


def test_nothing_asked_nothing_told() -> None:
    assert template_kwargs(ChatCompletionRequest(model="m", messages=MESSAGES)) == {}
