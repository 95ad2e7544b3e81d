"""A request to /v1/responses → the chat it is."""

from typing import Any, Final

import msgspec

from frontend.api.grammars import JsonSchemaFormat, NamedSchema, ResponseFormat
from frontend.api.responses.items import messages_of
from frontend.api.responses.schemas import FlatSchemaFormat, FunctionTool, ResponsesRequest
from frontend.api.schemas import ChatCompletionRequest
from protocol.errors import InvalidRequest, UnsupportedParameter

PARAM_NAMES: Final = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
}
"""Field of the chat → field of this API."""

_LOGPROBS: Final = "message.output_text.logprobs"
_INCLUDABLE: Final = frozenset({_LOGPROBS, "reasoning.encrypted_content"})
"""The thinking is told in clear, so that nothing more is needed to send it back."""

_AS_IN_CHAT: Final = (
    *("model", "stream", "stream_options", "parallel_tool_calls", "temperature", "top_p", "top_k", "min_p", "frequency_penalty"),
    *(
        "presence_penalty",
        "repetition_penalty",
        "seed",
        "stop",
        "ignore_eos",
        "chat_template_kwargs",
        "priority",
        "lora_path",
        "cache_salt",
    ),
    *("nvext", "metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier"),
)


def wants_logprobs(request: ResponsesRequest) -> bool:
    """Whether the text's log probabilities are to be told."""
    return _LOGPROBS in (request.include or ())


def chat_of(request: ResponsesRequest) -> ChatCompletionRequest:
    """The chat.

    Raises:
        UnsupportedParameter: naming what cannot be honoured.
        InvalidRequest: an item or a tool is malformed.
    """
    _refuse(request)
    logprobs = wants_logprobs(request)
    if request.top_logprobs and not logprobs:
        raise InvalidRequest(f"top_logprobs is only told with {_LOGPROBS!r} in include.", param="top_logprobs")
    text = request.text
    return ChatCompletionRequest(
        messages=messages_of(request.instructions, request.input),
        tools=None if not request.tools else [_tool(tool, f"tools[{at}]") for at, tool in enumerate(request.tools)],
        tool_choice=_tool_choice(request),
        response_format=None if text is None else _response_format(text.format),
        verbosity=None if text is None else text.verbosity,
        reasoning_effort=None if request.reasoning is None else request.reasoning.effort,
        max_completion_tokens=request.max_output_tokens,
        logprobs=logprobs or None,
        top_logprobs=request.top_logprobs or None,
        **{name: getattr(request, name) for name in _AS_IN_CHAT},
    )


def _refuse(request: ResponsesRequest) -> None:
    if request.background:
        raise UnsupportedParameter("background is not supported: nothing is kept that could be asked for later.", param="background")
    if request.truncation == "auto":
        raise UnsupportedParameter("truncation can only be 'disabled': a prompt is never cut here.", param="truncation")
    for name in request.include or ():
        if name not in _INCLUDABLE:
            raise UnsupportedParameter(f"include cannot have {name[:100]!r}; known are {', '.join(sorted(_INCLUDABLE))}.", param="include")
    reasoning = request.reasoning
    if reasoning is not None and {reasoning.summary, reasoning.generate_summary} - {None, "auto"}:
        raise UnsupportedParameter("Thinking is told as it is and not summed up.", param="reasoning.summary")


def _tool(raw: dict[str, Any], param: str) -> dict[str, Any]:
    if raw.get("type") != "function":
        kind = raw.get("type")
        shown = f"{kind!r:.100}" if isinstance(kind, str) else "of no type"
        raise UnsupportedParameter(f"Tools of type {shown} are not supported; only functions of your own.", param=f"{param}.type")
    try:
        tool = msgspec.convert(raw, FunctionTool)
    except msgspec.ValidationError as error:
        reason, _, at = str(error).replace("`", "").partition(" - at $")
        raise InvalidRequest(f"Invalid tool: {reason}.", param=param + at) from None
    fields = {"name": tool.name, "description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
    return {"type": "function", "function": {name: value for name, value in fields.items() if value is not None}}


def _tool_choice(request: ResponsesRequest) -> Any:
    choice = request.tool_choice
    if not isinstance(choice, dict):
        return choice
    if choice.get("type") != "function":
        raise UnsupportedParameter("tool_choice can be none, auto, required or a function.", param="tool_choice.type")
    name = choice.get("name")
    if name not in [tool.get("name") for tool in request.tools or ()]:
        raise InvalidRequest("tool_choice.name is none of the tools.", param="tool_choice.name")
    return {"type": "function", "function": {"name": name}}


def _response_format(asked: Any) -> ResponseFormat | None:
    if isinstance(asked, FlatSchemaFormat):
        return JsonSchemaFormat(NamedSchema(asked.name, asked.schema, asked.description, asked.strict))
    return asked
