"""How hard a model is asked to think → what its chat template is told.

Templates have no common name for it. SGLang tells all that are known (normalize_reasoning_inputs, srt/entrypoints/openai/protocol.py at
0.5.23), and its parsers, which must know whether the answer begins with thinking, go by the same.
"""

from typing import Any

from frontend.api.schemas import ChatCompletionRequest


def template_kwargs(request: ChatCompletionRequest) -> dict[str, Any]:
    """The client's chat_template_kwargs, and beside them what its reasoning_effort says."""
    kwargs: dict[str, Any] = dict(request.chat_template_kwargs or {})
    effort = request.reasoning_effort
    if effort is not None:
        thinks = effort != "none"
        kwargs = {"reasoning_effort": effort, "thinking": thinks, "enable_thinking": thinks} | kwargs
    return kwargs
