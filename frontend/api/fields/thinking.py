"""A chat template is told how hard a model is asked to think.

Templates have no common name for it. SGLang tells all that are known (normalize_reasoning_inputs,
srt/entrypoints/openai/protocol.py at
0.5.23), and its parsers, which must know whether the answer begins with thinking, go by the same.
"""

from typing import Any, Final

from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from protocol.errors import UnsupportedParameter
from protocol.membership import ModelCard

_BUDGET: Final = "thinking_budget"
"""Is SGLang's name of the bound among the custom_params, where its schedulers look for it."""


def template_kwargs(request: ChatCompletionRequest) -> dict[str, Any]:
    """Returns the client's chat_template_kwargs, and beside them what its reasoning_effort says."""
    kwargs: dict[str, Any] = dict(request.chat_template_kwargs or {})
    effort = request.reasoning_effort
    if effort is not None:
        thinks = effort != "none"
        kwargs = {
            "reasoning_effort": effort,
            "thinking": thinks,
            "enable_thinking": thinks,
        } | kwargs
    return kwargs


def thinking_budget(
    request: ChatCompletionRequest | CompletionRequest, card: ModelCard
) -> dict[str, int]:
    """Returns what bounds the thinking, to go among the custom_params; empty where nothing is
    asked.

    Raises:
        UnsupportedParameter: this model's thinking cannot be bounded, or is not told apart.
    """
    asked = (
        ()
        if request.nvext is None
        else (("nvext.max_thinking_tokens", request.nvext.max_thinking_tokens),)
    )
    if isinstance(request, ChatCompletionRequest):
        asked += (
            ("thinking_token_budget", request.thinking_token_budget),
            ("max_thinking_tokens", request.max_thinking_tokens),
        )
    for field, tokens in asked:
        if tokens is None:
            continue
        if (
            isinstance(request, CompletionRequest)
            or not card.bounds_thinking
            or request.separate_reasoning is False
        ):
            raise UnsupportedParameter(
                f"{field} is not supported: the thinking of chats is bounded where workers "
                "run with --enable-strict-thinking and a"
                " reasoning parser, and it is told apart. max_tokens bounds thinking and "
                "answer together.",
                param=field,
            )
        return {_BUDGET: tokens}
    return {}
