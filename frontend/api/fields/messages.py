"""Chat messages are checked far enough that a template cannot stumble over them, and put into one
form.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from frontend.api.fields.content import is_media, media_source
from frontend.api.fields.older_calls import OlderCalls
from frontend.http.ignored import REFUSING, Ignored
from frontend.media.part import MediaSource
from protocol.errors import InvalidRequest, UnsupportedParameter

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})

PARTS_MAX: Final = 10_000
"""One message's content may have so many parts."""

CALLS_MAX: Final = 1_024
"""One message may have so many calls. An answer has some tens at most; templates take 20 µs and
more for each.
"""

_TEXT_PARTS: Final[Mapping[str, str]] = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
}
"""Maps the type of a content part to its field that holds the text.

All but the first come from answers, and from /v1/responses.
"""


def check_messages(
    messages: Sequence[dict[str, Any]], ignored: Ignored = REFUSING
) -> Sequence[MediaSource]:
    """Checks roles and contents, rewrites in place what older clients and other APIs write
    differently, and takes out the media that the messages name, which it returns in their order.

    Afterwards roles are in small letters, parts are of type text, or bear nothing but the kind of a
    medium, results of tools have a text, functions are tools, a refusal is text of the assistant,
    and its thinking is `reasoning_content`.

    Args:
        ignored: takes what has no effect.
    Raises:
        InvalidRequest: with the message's place as `param`.
        UnsupportedParameter: a content part is of another type.
    """
    older_calls = OlderCalls()
    media: list[MediaSource] = []
    for at, message in enumerate(messages):
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            role = message["role"] = _role(role, f"messages[{at}].role")
        content = message.get("content")
        if content is None:
            if role in ("tool", "function"):
                message["content"] = ""
            elif role != "assistant":
                raise InvalidRequest(
                    f"The content of a {role} message is missing.", param=f"messages[{at}].content"
                )
        elif isinstance(content, list):
            media += _check_parts(
                cast("list[Any]", content), role, f"messages[{at}].content", ignored
            )
        elif not isinstance(content, str):
            raise InvalidRequest(
                "content must be a string or a list of parts.", param=f"messages[{at}].content"
            )
        if role == "function":
            older_calls.rewrite_result(message, at)
        elif role == "assistant" and len(message) > 2:
            older_calls.rewrite_call(message, at)
            _check_assistant(message, f"messages[{at}]")
    return media


def _role(role: Any, param: str) -> str:
    if isinstance(role, str) and role.lower() in ROLES:
        return role.lower()
    raise InvalidRequest(
        f"Invalid role {_shown(role)}: must be one of {', '.join(sorted(ROLES))}.", param=param
    )


def _check_parts(parts: list[Any], role: str, param: str, ignored: Ignored) -> list[MediaSource]:
    media: list[MediaSource] = []
    if len(parts) > PARTS_MAX:
        raise InvalidRequest(
            f"A message has at most {PARTS_MAX} content parts, got {len(parts)}.", param=param
        )
    for at, part in enumerate(parts):
        if isinstance(part, MediaSource):  # another API's, named as its client knows it
            media.append(part)
            parts[at] = {"type": part.modality}
            continue
        if not isinstance(part, dict):
            raise InvalidRequest("A content part must be an object.", param=f"{param}[{at}]")
        kind = cast("dict[str, Any]", part).get("type")
        if is_media(kind):
            media.append(media_source(cast("dict[str, Any]", part), f"{param}[{at}]", ignored))
            parts[at] = {"type": media[-1].modality}
            continue
        field = _TEXT_PARTS.get(kind) if isinstance(kind, str) else None
        if field is None or (kind == "refusal" and role != "assistant"):
            raise UnsupportedParameter(
                f"Content parts of type {_shown(kind)} are not supported.",
                param=f"{param}[{at}].type",
            )
        text = cast("dict[str, Any]", part).get(field)
        if not isinstance(text, str):
            raise InvalidRequest(
                f"A {kind} part needs the field {field}, a string.", param=f"{param}[{at}].{field}"
            )
        if kind != "text":
            parts[at] = {"type": "text", "text": text}
    return media


def _check_assistant(message: dict[str, Any], param: str) -> None:
    calls = message.get("tool_calls")
    if isinstance(calls, list) and len(cast("list[Any]", calls)) > CALLS_MAX:
        raise InvalidRequest(
            f"A message has at most {CALLS_MAX} tool calls, got {len(cast('list[Any]', calls))}.",
            param=f"{param}.tool_calls",
        )
    if message.get("audio") is not None:
        raise UnsupportedParameter(
            "No audio is kept here; send its transcript as content.", param=f"{param}.audio"
        )
    # vLLM's name, and OpenRouter's
    if (thinking := _text_of(message, "reasoning", param)) and not message.get("reasoning_content"):
        message["reasoning_content"] = thinking
    if not isinstance(message.get("reasoning_content"), str | None):
        raise InvalidRequest(
            "reasoning_content must be a string.", param=f"{param}.reasoning_content"
        )
    if refusal := _text_of(message, "refusal", param):
        content = message.get("content")
        if isinstance(content, list):
            cast("list[Any]", content).append({"type": "text", "text": refusal})
        else:
            message["content"] = f"{content}\n{refusal}" if content else refusal


def _text_of(message: dict[str, Any], field: str, param: str) -> str | None:
    """Takes a field's text out of the message."""
    text = message.pop(field, None)
    if not isinstance(text, str | None):
        raise InvalidRequest(f"{field} must be a string.", param=f"{param}.{field}")
    return text


def _shown(value: Any) -> str:
    """Returns a string as it is, cut; of anything else its kind, since the repr of deep nesting
    fails.
    """
    return f"{value!r:.100}" if isinstance(value, str) else f"of type {type(value).__name__}"
