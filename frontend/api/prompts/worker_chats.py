"""Workers that render and tokenize are told what they need of a chat."""

from typing import Any, Final, cast

import msgspec

from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.api.fields.tools import told_tools
from frontend.api.prompts.encoding import CHARS_PER_TOKEN_MAX
from frontend.text.templates.messages import with_arguments
from protocol.errors import ContextOverflow
from protocol.media import MODALITIES
from protocol.membership import ModelCard

_RENDERED_BY: Final = (
    "messages",
    "tool_choice",
    "chat_template_kwargs",
    "reasoning_effort",
    "add_generation_prompt",
    "continue_final_message",
)
"""Names the fields of a chat that say something of its prompt."""

_JSON_BYTES_PER_CHAR_MAX: Final = 12
"""A character beyond the basic plane takes so many bytes, written as two escapes."""

_PLACES: Final[dict[str, dict[str, Any]]] = {
    kind: {"type": f"{kind}_url", f"{kind}_url": {"url": "data:,"}} for kind in MODALITIES
}
"""Stands for a medium in a message that a worker renders."""

_encode = msgspec.json.Encoder().encode


def chat_for_worker(card: ModelCard, request: ChatCompletionRequest) -> bytes:
    """Returns what a worker needs of a chat to make its prompt, in JSON.

    Raises:
        ContextOverflow: it is so long that it cannot fit.
    """
    fields = {name: value for name in _RENDERED_BY if (value := getattr(request, name)) is not None}
    fields["messages"] = [_readable(message) for message in request.messages]
    if tools := told_tools(request):
        fields["tools"] = tools
    chat = _encode({"model": card.name, **fields})
    if len(chat) > card.context_length * CHARS_PER_TOKEN_MAX * _JSON_BYTES_PER_CHAR_MAX:
        raise ContextOverflow(
            f"This model's maximum context length is {card.context_length} tokens. However, "
            f"your messages have {len(chat)} bytes."
            " Please reduce the length of the messages.",
            param="messages",
        )
    return chat


def _readable(message: dict[str, Any]) -> dict[str, Any]:
    """Returns the message as SGLang takes it: calls with objects for arguments, and media by their
    kind alone, since only their places matter for the prompt.
    """
    if message.get("tool_calls"):
        message = message | {"tool_calls": with_arguments(message["tool_calls"])}
    content = message.get("content")
    if isinstance(content, list):
        parts = cast("list[dict[str, Any]]", content)
        message = message | {"content": [_PLACES.get(part["type"], part) for part in parts]}
    return message
