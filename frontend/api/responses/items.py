"""Input items become the messages of a chat.

What the model said in one turn comes as several items and becomes one message.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from frontend.api.fields.content import media_source
from frontend.api.fields.custom_tools import custom_arguments
from frontend.api.responses.tools import flat_name
from frontend.http.ignored import REFUSING, Ignored
from frontend.media.part import MediaSource
from protocol.errors import InvalidRequest, UnsupportedParameter

PARTS_MAX: Final = 10_000
"""One item's content may have so many parts."""

Parts = str | Annotated[list[dict[str, Any]], Meta(max_length=PARTS_MAX)]


class _Message(Struct, frozen=True):
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts


class _FunctionCall(Struct, frozen=True):
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None


class _CustomToolCall(Struct, frozen=True):
    call_id: str
    name: str
    input: str
    namespace: str | None = None


class _FunctionCallOutput(Struct, frozen=True):
    call_id: str
    output: Parts


class _Reasoning(Struct, frozen=True):
    summary: Parts = ""
    content: Parts | None = None
    """Holds the thinking itself; what it is summed up as stands in where it is missing."""


_Item = _Message | _FunctionCall | _CustomToolCall | _FunctionCallOutput | _Reasoning

_KINDS: Final[dict[str, type[_Item]]] = {
    "message": _Message,
    "function_call": _FunctionCall,
    "function_call_output": _FunctionCallOutput,
    "custom_tool_call": _CustomToolCall,
    "custom_tool_call_output": _FunctionCallOutput,
    "reasoning": _Reasoning,
}

_LEFT_OUT: Final = (
    "web_search_call",
    "image_generation_call",
    "tool_search_call",
    "tool_search_output",
    "mcp_list_tools",
)
"""Names traces of another server's tools. What came of them is in the messages around them."""

_TEXT_PARTS: Final = {
    "input_text": "text",
    "output_text": "text",
    "summary_text": "text",
    "reasoning_text": "text",
    "refusal": "refusal",
}
"""Maps the type of a content part to its field that holds the text."""

_PICTURES: Final = ("input_image",)


def messages_of(
    instructions: str | None, given: str | Sequence[dict[str, Any]], ignored: Ignored = REFUSING
) -> list[dict[str, Any]]:
    """Returns the messages of a chat: instructions as the system's message, then the items.

    Further fields of items, as answers have them, are left aside.

    Items that are traces of another server's tools are `ignored`. Instructions and the system's
    messages that directly follow them are one message, since most templates take one alone.

    Raises:
        UnsupportedParameter: an item or a part of it is of a type that is not served, named with
        its place.
        InvalidRequest: an item is malformed.
    """
    if isinstance(given, str):
        return [*_instructing([instructions or ""]), {"role": "user", "content": given}]
    leading = [instructions or ""]
    messages: list[dict[str, Any]] = []
    for at, raw in enumerate(given):
        if raw.get("type") in _LEFT_OUT:
            ignored.add(f"input.{raw['type']}", "no such tool runs here", param=f"input[{at}].type")
            continue
        item = _item(raw, f"input[{at}]")
        if (
            instructions
            and not messages
            and isinstance(item, _Message)
            and item.role in ("system", "developer")
        ):
            leading.append(_text(item.content, f"input[{at}].content"))
        else:
            _add(messages, item, f"input[{at}]", ignored)
    return [*_instructing(leading), *messages]


def _instructing(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the system's message, if there is one."""
    return [{"role": "system", "content": "\n\n".join(texts)}] if texts[0] else []


def _item(raw: dict[str, Any], param: str) -> _Item:
    kind = raw.get("type") or "message"
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UnsupportedParameter(
            f"Input items of type {_shown(kind)} are not supported.", param=f"{param}.type"
        )
    try:
        return msgspec.convert(raw, _KINDS[kind])
    except msgspec.ValidationError as error:
        reason, _, at = str(error).replace("`", "").partition(" - at $")
        raise InvalidRequest(f"Invalid input item: {reason}.", param=param + at) from None


def _add(messages: list[dict[str, Any]], item: _Item, param: str, ignored: Ignored) -> None:
    if isinstance(item, _FunctionCallOutput):
        messages.append(
            {
                "role": "tool",
                "tool_call_id": item.call_id,
                "content": _content(item.output, f"{param}.output", ignored),
            }
        )
    elif isinstance(item, _FunctionCall | _CustomToolCall):
        arguments = (
            item.arguments if isinstance(item, _FunctionCall) else custom_arguments(item.input)
        )
        function = {"name": flat_name(item.namespace, item.name), "arguments": arguments}
        call = {"id": item.call_id, "type": "function", "function": function}
        _turn(messages, past=()).setdefault("tool_calls", []).append(call)
    elif isinstance(item, _Reasoning):
        thoughts = _text(item.content or item.summary, param)
        if thoughts:
            _turn(messages, past=("reasoning_content", "content", "tool_calls"))[
                "reasoning_content"
            ] = thoughts
    elif item.role == "assistant":
        _turn(messages, past=("content", "tool_calls"))["content"] = _text(
            item.content, f"{param}.content"
        )
    else:
        messages.append(
            {"role": item.role, "content": _content(item.content, f"{param}.content", ignored)}
        )


def _turn(messages: list[dict[str, Any]], *, past: Sequence[str]) -> dict[str, Any]:
    """Returns the assistant's message that an item belongs to: the last one, unless it is past
    that, having one of these already.
    """
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or any(last.get(name) is not None for name in past):
        last = {"role": "assistant", "content": None}
        messages.append(last)
    return last


def _content(parts: Parts, param: str, ignored: Ignored) -> str | list[Any]:
    """Returns the parts as a text or, where there are pictures among them, as a chat's parts."""
    if isinstance(parts, str) or not any(part.get("type") in _PICTURES for part in parts):
        return _text(parts, param)
    return [
        _picture(part, f"{param}[{at}]", ignored)
        if part.get("type") in _PICTURES
        else {"type": "text", "text": _text([part], param)}
        for at, part in enumerate(parts)
    ]


def _picture(part: Mapping[str, Any], param: str, ignored: Ignored) -> MediaSource:
    if part.get("file_id") is not None:
        raise UnsupportedParameter("No files are kept here.", param=f"{param}.file_id")
    return media_source(part, param, ignored)


def _text(parts: Parts, param: str) -> str:
    if isinstance(parts, str):
        return parts
    texts: list[str] = []
    for at, part in enumerate(parts):
        kind = part.get("type")
        if not isinstance(kind, str) or kind not in _TEXT_PARTS:
            raise UnsupportedParameter(
                f"Parts of type {_shown(kind)} are not supported: this endpoint takes text and "
                "pictures.",
                param=f"{param}[{at}].type",
            )
        text = part.get(_TEXT_PARTS[kind])
        if not isinstance(text, str):
            raise InvalidRequest(
                f"A part of type {kind!r} needs the field {_TEXT_PARTS[kind]}, a string.",
                param=f"{param}[{at}]",
            )
        texts.append(text)
    return "\n".join(texts)


def _shown(value: Any) -> str:
    return f"{value!r:.100}" if isinstance(value, str) else f"{type(value).__name__}"
