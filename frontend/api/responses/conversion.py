"""A request to /v1/responses becomes the chat that it is."""

from typing import Any, Final

from frontend.api.fields.grammar_fields import JsonSchemaFormat, NamedSchema, ResponseFormat
from frontend.api.fields.refusals import VERBOSITY_FIXED
from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.api.responses.items import messages_of
from frontend.api.responses.schemas import FlatSchemaFormat, ResponsesRequest
from frontend.api.responses.tools import OfferedTools
from frontend.http.ignored import Ignored
from protocol.errors import InvalidRequest, UnsupportedParameter

PARAM_NAMES: Final = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "logprobs": "include",
}
"""Maps a field of the chat to the field of /v1/responses."""

_LOGPROBS: Final = "message.output_text.logprobs"
_ENCRYPTED: Final = "reasoning.encrypted_content"
"""Asks for the thinking encrypted, and changes nothing: it is told in clear, so that nothing more
is needed to send it back.
"""

_OF_TOOLS: Final = (
    "web_search_call.",
    "file_search_call.",
    "code_interpreter_call.",
    "computer_call_output.",
    "message.input_image.",
)
"""Holds the beginnings of what would be told of tools and images that no answer here has."""

_AS_IN_CHAT: Final = (
    *(
        "model",
        "stream",
        "stream_options",
        "parallel_tool_calls",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "frequency_penalty",
    ),
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
    *(
        "nvext",
        "metadata",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "service_tier",
    ),
)


def wants_logprobs(request: ResponsesRequest) -> bool:
    """Tells whether a request asks for the log probabilities of the text."""
    return _LOGPROBS in (request.include or ())


def chat_of(
    request: ResponsesRequest, offered: OfferedTools, ignored: Ignored
) -> ChatCompletionRequest:
    """Returns the chat that a request to /v1/responses is.

    Args:
        offered: the request's tools.
        ignored: takes what has no effect.
    Raises:
        UnsupportedParameter: naming what cannot be honoured.
        InvalidRequest: an item or a tool is malformed.
    """
    _refuse(request, ignored)
    logprobs = wants_logprobs(request)
    if request.top_logprobs and not logprobs:
        raise InvalidRequest(
            f"top_logprobs is only told with {_LOGPROBS!r} in include.", param="top_logprobs"
        )
    text = request.text
    return ChatCompletionRequest(
        messages=messages_of(request.instructions, request.input, ignored),
        tools=offered.functions or None,
        tool_choice=offered.choice(request.tool_choice),
        response_format=None if text is None else _response_format(text.format),
        reasoning_effort=None if request.reasoning is None else request.reasoning.effort,
        max_completion_tokens=request.max_output_tokens,
        logprobs=logprobs or None,
        top_logprobs=request.top_logprobs or None,
        **{name: getattr(request, name) for name in _AS_IN_CHAT},
    )


def _refuse(request: ResponsesRequest, ignored: Ignored) -> None:
    """Refuses or notes as ignored what is not served. An overflow is an error whatever `truncation`
    says, so that until then "auto" is as good as "disabled".
    """
    if request.background:
        raise UnsupportedParameter(
            "background is not supported: nothing is kept that could be asked for later.",
            param="background",
        )
    if request.text is not None and request.text.verbosity not in (None, "medium"):
        ignored.add("text.verbosity", VERBOSITY_FIXED)
    for name in request.include or ():
        if name not in (_LOGPROBS, _ENCRYPTED) and not name.startswith(_OF_TOOLS):
            ignored.add(
                f"include.{name}", f"known are {_LOGPROBS} and {_ENCRYPTED}", param="include"
            )


def _response_format(asked: Any) -> ResponseFormat | None:
    if isinstance(asked, FlatSchemaFormat):
        return JsonSchemaFormat(
            NamedSchema(asked.name, asked.schema, asked.description, asked.strict)
        )
    return asked
