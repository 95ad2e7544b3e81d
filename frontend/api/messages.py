"""Chat messages as clients send them, checked far enough that a template cannot stumble over them."""

from collections.abc import Sequence
from typing import Any, Final, cast

from protocol.errors import InvalidRequest, UnsupportedParameter

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


def check_messages(messages: Sequence[dict[str, Any]]) -> None:
    """Check roles and contents.

    Raises:
        InvalidRequest: with the message's place as `param`.
        UnsupportedParameter: a content part is no text.
    """
    for at, message in enumerate(messages):
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise InvalidRequest(f"Invalid role {_shown(role)}: must be one of {', '.join(sorted(ROLES))}.", param=f"messages[{at}].role")
        content = message.get("content")
        if content is None:
            if role != "assistant":
                raise InvalidRequest(f"The content of a {role} message is missing.", param=f"messages[{at}].content")
        elif isinstance(content, list):
            _check_parts(cast("list[Any]", content), f"messages[{at}].content")
        elif not isinstance(content, str):
            raise InvalidRequest("content must be a string or a list of parts.", param=f"messages[{at}].content")


def _check_parts(parts: list[Any], param: str) -> None:
    for at, part in enumerate(parts):
        if not isinstance(part, dict):
            raise InvalidRequest("A content part must be an object.", param=f"{param}[{at}]")
        kind, text = cast("dict[str, Any]", part).get("type"), cast("dict[str, Any]", part).get("text")
        if kind != "text":
            raise UnsupportedParameter(f"This model takes text only, not {_shown(kind)}.", param=f"{param}[{at}].type")
        if not isinstance(text, str):
            raise InvalidRequest("A text part needs the field text, a string.", param=f"{param}[{at}].text")


def _shown(value: Any) -> str:
    """A string as it is; of anything else its kind, since the repr of deep nesting fails."""
    return f"{value!r:.100}" if isinstance(value, str) else f"of type {type(value).__name__}"
