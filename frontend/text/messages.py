"""OpenAI's messages as chat templates want them: what SGLang does to them before rendering.

Absent values are left out, content is never null, tool-call arguments are objects, and content parts are a list only where the
template loops over them (srt/entrypoints/openai/serving_chat.py, srt/parser/jinja_template_utils.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

import msgspec

from protocol.errors import InvalidRequest

_TEXT_PARTS: Final = frozenset({"text", "input_text"})
_MEDIA_PARTS: Final = {"image_url": "image", "input_image": "image", "video_url": "video", "audio_url": "audio", "input_audio": "audio"}
_MEDIA_FORMS: Final = frozenset(_MEDIA_PARTS.values())


def normalize_messages(messages: Sequence[Mapping[str, Any]], content_form: Literal["string", "openai"]) -> list[Mapping[str, Any]]:
    """The messages a template is given; those that need no change are the caller's own, so a template must not change them.

    Raises:
        InvalidRequest: arguments of a tool call are no JSON object, or a part is neither text nor known media.
    """
    return [_normalize(message, content_form, index) for index, message in enumerate(messages)]


def _normalize(message: Mapping[str, Any], content_form: str, index: int) -> Mapping[str, Any]:
    content = message.get("content")
    if isinstance(content, str) and len(message) == 2:  # a role and a text: nearly all messages
        return message
    ours = {key: value for key, value in message.items() if value is not None}
    ours["content"] = "" if content is None else content
    if isinstance(content, list):
        parts = cast("list[Any]", content)
        as_text = content_form == "string" or (message.get("role") == "tool" and all(_is_text(part) for part in parts))
        ours["content"] = _flatten(parts, index) if as_text else [_normalize_part(part, index) for part in parts]
    if isinstance(ours.get("tool_calls"), list):
        ours["tool_calls"] = [_normalize_call(call, index) for call in ours["tool_calls"]]
    return ours


def _flatten(parts: list[Any], index: int) -> str:
    """Texts joined by one space, as SGLang joins them."""
    texts: list[str] = []
    for part in parts:
        if not _is_text(part):
            message = "this model's chat template takes text only; the message has a part of another type"
            raise InvalidRequest(message, param=f"messages.{index}.content")
        texts.append(part if isinstance(part, str) else str(part.get("text", "")))
    return " ".join(texts)


def _is_text(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and cast("dict[str, Any]", part).get("type") in _TEXT_PARTS)


def _normalize_part(part: Any, index: int) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if _is_text(part):
        return {"type": "text", "text": part.get("text", "")}
    kind = cast("dict[str, Any]", part).get("type") if isinstance(part, dict) else None
    if kind in _MEDIA_PARTS or kind in _MEDIA_FORMS:
        return {"type": _MEDIA_PARTS.get(str(kind), str(kind))}
    raise InvalidRequest(f"content parts of type {str(kind)[:40]!r} are not supported", param=f"messages.{index}.content")


def _normalize_call(call: Any, index: int) -> Any:
    """A tool call whose `function.arguments` is an object, however the client sent it."""
    if not isinstance(call, dict):
        return call
    function: Any = cast("dict[str, Any]", call).get("function")
    if not isinstance(function, dict) or not isinstance(cast("dict[str, Any]", function).get("arguments"), str):
        return cast("Any", call)
    written = cast("dict[str, str]", function)["arguments"]
    try:
        arguments: Any = msgspec.json.decode(written) if written.strip() else {}
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequest("function.arguments of a tool call must be a JSON object", param=f"messages.{index}.tool_calls")
    ours: dict[str, Any] = {**call, "function": {**function, "arguments": arguments}}
    return ours
