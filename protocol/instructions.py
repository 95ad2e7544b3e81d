"""Places the messages of the system and of developers, which instruct the model, where a chat
template prints them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

INSTRUCTING: Final = frozenset({"system", "developer"})
"""Names the roles whose messages instruct the model."""

_BETWEEN: Final = "\n\n"
"""Stands between two instructions that become one, as SGLang joins them."""


class InstructionPlaces(NamedTuple):
    """An InstructionPlaces says where a chat template prints instructions.

    Attributes:
        developer: it knows developers; otherwise what they say is told as the system's.
        leading: it prints several at the beginning.
        inline: it prints them behind the beginning too.
    """

    developer: bool = True
    leading: bool = True
    inline: bool = True


def place_instructions(
    messages: Sequence[Mapping[str, Any]], places: InstructionPlaces
) -> Sequence[Mapping[str, Any]]:
    """Returns the messages with their instructions where the template prints them: as they are, or
    all of them as one at the beginning.

    Args:
        messages: with `content` a string or a list of text parts. None of them is changed.
    """
    at = [index for index, message in enumerate(messages) if message.get("role") in INSTRUCTING]
    if not at or (at == [0] and (places.developer or messages[0]["role"] == "system")):
        return messages
    begin_it = at[-1] == len(at) - 1
    if (begin_it or places.inline) and (places.leading or len(at) < 2 or at[1] > 1):
        return messages if places.developer else [_told_by_system(message) for message in messages]
    return _as_one(messages, by_developers=places.developer)


def _told_by_system(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**message, "role": "system"} if message.get("role") == "developer" else message


def _as_one(
    messages: Sequence[Mapping[str, Any]], *, by_developers: bool
) -> list[Mapping[str, Any]]:
    instructions = [message for message in messages if message.get("role") in INSTRUCTING]
    rest = [message for message in messages if message.get("role") not in INSTRUCTING]
    developers_only = by_developers and all(
        message["role"] == "developer" for message in instructions
    )
    texts = [text for message in instructions for text in _texts(message.get("content")) if text]
    return [
        {"role": "developer" if developers_only else "system", "content": _BETWEEN.join(texts)},
        *rest,
    ]


def _texts(content: Any) -> list[str]:
    if not isinstance(content, list):
        return [content or ""]
    return [
        part if isinstance(part, str) else part.get("text", "")
        for part in cast("list[Any]", content)
    ]
