"""Turns OpenAI's messages into what chat templates want: what SGLang does to them before rendering,
and what the template's habits ask for.

Absent values are left out, content is never null, tool-call arguments are objects, and content
parts are a list only where the template loops over them (srt/entrypoints/openai/serving_chat.py,
srt/parser/jinja_template_utils.py).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

import msgspec

from frontend.text.templates.habits import IN_TEXT, Habits, in_text
from protocol.errors import InvalidRequest
from protocol.instructions import place_instructions

ContentForm = Literal["string", "openai"]

_TEXT_PARTS: Final = frozenset({"text", "input_text"})
_MEDIA_PARTS: Final = {
    "image_url": "image",
    "input_image": "image",
    "video_url": "video",
    "audio_url": "audio",
    "input_audio": "audio",
}
_MEDIA_FORMS: Final = frozenset(_MEDIA_PARTS.values())
_NO_HABITS: Final = Habits()


def normalize_messages(
    messages: Sequence[Mapping[str, Any]], content_form: ContentForm, habits: Habits = _NO_HABITS
) -> Sequence[Mapping[str, Any]]:
    """Returns the messages a template is given; those that need no change are the caller's own, so
    a template must not change them.

    Raises:
        InvalidRequest: a part is neither text nor known media, or the template would leave a
        message out.
    """
    if habits.unprinted:
        _refuse_unprinted(messages, habits)
    ours = [
        _normalize(message, content_form, habits, index) for index, message in enumerate(messages)
    ]
    return place_instructions(ours, habits.instructions)


def _refuse_unprinted(messages: Sequence[Mapping[str, Any]], habits: Habits) -> None:
    for index, message in enumerate(messages):
        role = message.get("role")
        if message.get("tool_calls") and "tool_calls" in habits.unprinted:
            raise InvalidRequest(
                "this model's chat template cannot tell of tool calls",
                param=f"messages.{index}.tool_calls",
            )
        if role in habits.unprinted or (role == "developer" and "system" in habits.unprinted):
            raise InvalidRequest(
                f"this model's chat template cannot tell of {role} messages",
                param=f"messages.{index}.role",
            )


def _normalize(
    message: Mapping[str, Any], content_form: ContentForm, habits: Habits, index: int
) -> Mapping[str, Any]:
    content = message.get("content")
    if isinstance(content, str) and len(message) == 2:  # a role and a text: nearly all messages
        return message
    ours = {key: value for key, value in message.items() if value is not None}
    ours["content"] = "" if content is None else content
    if isinstance(content, list):
        parts = cast("list[Any]", content)
        as_text = content_form == "string" or (
            message.get("role") == "tool" and all(_is_text(part) for part in parts)
        )
        ours["content"] = (
            _flatten(parts, index) if as_text else [_normalize_part(part, index) for part in parts]
        )
    if "tool_calls" in ours:
        if ours["tool_calls"]:
            ours["tool_calls"] = with_arguments(
                ours["tool_calls"], as_text=habits.arguments_as_text
            )
        else:
            del ours["tool_calls"]  # templates ask whether there is the field
    if ours.get("reasoning_content"):
        _tell_thinking(ours, habits)
    return ours


def _tell_thinking(message: dict[str, Any], habits: Habits) -> None:
    """Moves the thinking to where the template prints it."""
    if habits.thinking == IN_TEXT:
        text, content = in_text(str(message.pop("reasoning_content"))), message["content"]
        message["content"] = (
            text + content
            if isinstance(content, str)
            else [{"type": "text", "text": text}, *content]
        )
    elif habits.thinking is not None:
        message[habits.thinking] = message["reasoning_content"]


def _flatten(parts: list[Any], index: int) -> str:
    """Returns the texts joined by one space, as SGLang joins them."""
    texts: list[str] = []
    for part in parts:
        if not _is_text(part):
            message = (
                "this model's chat template takes text only; the message has a part of another type"
            )
            raise InvalidRequest(message, param=f"messages.{index}.content")
        texts.append(part if isinstance(part, str) else str(part.get("text", "")))
    return " ".join(texts)


def _is_text(part: Any) -> bool:
    return isinstance(part, str) or (
        isinstance(part, dict) and cast("dict[str, Any]", part).get("type") in _TEXT_PARTS
    )


def _normalize_part(part: Any, index: int) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if _is_text(part):
        return {"type": "text", "text": part.get("text", "")}
    kind = cast("dict[str, Any]", part).get("type") if isinstance(part, dict) else None
    if kind in _MEDIA_PARTS or kind in _MEDIA_FORMS:
        return {"type": _MEDIA_PARTS.get(str(kind), str(kind))}
    raise InvalidRequest(
        f"content parts of type {str(kind)[:40]!r} are not supported",
        param=f"messages.{index}.content",
    )


def with_arguments(calls: Any, *, as_text: bool = False) -> Any:
    """Returns a message's tool calls with their arguments as objects, however the client sent them,
    or as JSON text of those.
    """
    return (
        [_with_arguments(call, as_text=as_text) for call in cast("list[Any]", calls)]
        if isinstance(calls, list)
        else calls
    )


def _with_arguments(call: Any, *, as_text: bool) -> Any:
    function: Any = cast("dict[str, Any]", call).get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return cast("Any", call)
    arguments: Any = _arguments_object(cast("dict[str, Any]", function).get("arguments"))
    if as_text:
        arguments = json.dumps(arguments, ensure_ascii=False)
    ours: dict[str, Any] = {**call, "function": {**function, "arguments": arguments}}
    return ours


def _arguments_object(given: Any) -> dict[str, Any]:
    """Returns the arguments of a call in a conversation's past as an object; an empty one if they
    are none.

    Models are cut in the midst of a call and write bad JSON, and clients send back what they were
    given: refusing it would end the conversation for good. vLLM takes them in the same way.
    """
    if not isinstance(given, str):
        return cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    try:
        arguments: Any = msgspec.json.decode(given)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        arguments = _loosely_read(given)
    return cast("dict[str, Any]", arguments) if isinstance(arguments, dict) else {}


def _loosely_read(text: str) -> Any:
    """Reads JSON with NaN and Infinity, which are no JSON but what Python's library writes and
    reads; returns None for what it cannot read.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
