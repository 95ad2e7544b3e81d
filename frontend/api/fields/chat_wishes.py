"""vLLM's and Dynamo's clients may ask of a chat what OpenAI's fields do not say."""

from typing import Any, cast

from msgspec.structs import replace

from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.text.output.gain import Gain


def under_our_names(request: ChatCompletionRequest) -> ChatCompletionRequest:
    """Returns the request with Dynamo's chat_template_args among the chat_template_kwargs."""
    if request.chat_template_args is None:
        return request
    kwargs = {**request.chat_template_args, **(request.chat_template_kwargs or {})}
    return replace(request, chat_template_kwargs=kwargs, chat_template_args=None)


def echoed_text(request: ChatCompletionRequest) -> str:
    """Returns the text that a chat's answer is to begin with: that of the assistant's last message,
    if it is the end of the chat and `echo` is set; otherwise none.
    """
    last = request.messages[-1]
    if not request.echo or last.get("role") != "assistant":
        return ""
    content = last.get("content")
    if isinstance(content, list):
        return "".join(_text(part) for part in cast("list[Any]", content))
    return content if isinstance(content, str) else ""


def _text(part: Any) -> str:
    text = cast("dict[str, Any]", part).get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""


def change(gain: Gain, request: ChatCompletionRequest, *, first: bool) -> None:
    """Changes a stream's gain to what is shown of it.

    Args:
        first: it is the first of its choice.
    """
    if request.include_reasoning is False:
        gain.reasoning = ""
    if first:
        gain.text = echoed_text(request) + gain.text
