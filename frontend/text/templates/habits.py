"""Finds out what a chat template does with the messages it is given, by rendering a few of them
when it is loaded.

Templates say nothing of what they print. Some refuse a message that they do not know, most leave it
out in silence; a word that is looked for in the rendered text tells which.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from protocol.instructions import InstructionPlaces

Render = Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]] | None], str | None]
"""Returns the text of messages and tools; None if the template refuses them or fails."""

Kind = Literal["system", "tool", "tool_calls"]
"""Names what a template may leave out: a message of this role, or what it has in this field."""

IN_TEXT: Final = "content"
"""Is `Habits.thinking` of templates that print the thinking of earlier turns nowhere but as the
text that it is.
"""

_FIRST, _SECOND, _THIRD = "Halcyon", "Zephyrine", "Quillback"
_USER: Final = {"role": "user", "content": "Hi."}
_SAID: Final = {"role": "assistant", "content": "Yes."}
_PASTS: Final = ([_USER], [_USER, _SAID])
_OTHER_TOOL: Final[Mapping[str, Any]] = {
    "name": "other",
    "description": "Another.",
    "parameters": {"type": "object", "properties": {}},
}
_WORDS_OF_CALLS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "tool_calls": (_FIRST, _SECOND),
    "tool": (_THIRD,),
}
_THINKING_NAMES: Final = ("reasoning_content", "reasoning", "thinking")


class Habits(NamedTuple):
    """Habits says what a chat template does with the messages it is given.

    Attributes:
        instructions: where instructions are printed.
        thinking: the field of the assistant's messages whose text is printed as thinking; IN_TEXT
        if there is none; None if the template takes earlier thinking out of the text, as its model
        wants it.
        arguments_as_text: the arguments of tool calls must be JSON text rather than an object.
        unprinted: what is left out without a word.
    """

    instructions: InstructionPlaces = InstructionPlaces()
    thinking: str | None = _THINKING_NAMES[0]
    arguments_as_text: bool = False
    unprinted: frozenset[Kind] = frozenset()


def habits_of(render: Render) -> Habits:
    """Returns the habits of the template behind `render`."""
    object_calls, text_calls = _calls(render, {_SECOND: 1}), _calls(render, f'{{"{_SECOND}": 1}}')
    as_text = not object_calls and bool(text_calls)
    found = text_calls if as_text else object_calls
    unprinted: set[Kind] = set()
    if _prints(render, [_says("system", _FIRST), _USER], _FIRST) is False:
        unprinted.add("system")
    if found:
        unprinted.update(
            kind
            for kind, words in _WORDS_OF_CALLS.items()
            if not any(_has(text, words) for text in found)
        )
    # it refuses the result alone
    elif _prints(render, [*_called({})[:-1], _USER], _FIRST) is False:
        unprinted.add("tool_calls")
    return Habits(
        instructions=_places(render),
        thinking=_thinking(render, as_text=as_text),
        arguments_as_text=as_text,
        unprinted=frozenset(unprinted),
    )


def _says(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def _called(arguments: Any, **fields: str) -> list[dict[str, Any]]:
    """Returns a call, made so that no family's rules for ids refuse it, and its result."""
    call = {
        "id": "call00001",
        "type": "function",
        "function": {"name": _FIRST, "arguments": arguments},
    }
    result = {"role": "tool", "tool_call_id": "call00001", "name": _FIRST, "content": _THIRD}
    return [_USER, {"role": "assistant", "content": "", **fields, "tool_calls": [call]}, result]


def _has(text: str, words: Sequence[str]) -> bool:
    return all(word in text for word in words)


def _prints(render: Render, messages: Sequence[Mapping[str, Any]], *words: str) -> bool | None:
    text = render(messages, None)
    return None if text is None else _has(text, words)


def _calls(render: Render, arguments: Any) -> list[str]:
    """Returns a call and its result as the template prints them, without tools and with another:
    some print none where there are no tools.
    """
    others: list[Mapping[str, Any]] = [{"type": "function", "function": _OTHER_TOOL}]
    return [
        text for tools in (None, others) if (text := render(_called(arguments), tools)) is not None
    ]


def _places(render: Render) -> InstructionPlaces:
    def taken(*roles: str) -> tuple[bool, bool, bool]:
        """Returns whether a message is printed alone, at the beginning together, and behind it."""
        first, second = _says(roles[0], _FIRST), _says(roles[-1], _SECOND)
        return (
            bool(_prints(render, [second, _USER], _SECOND)),
            bool(_prints(render, [first, second, _USER], _FIRST, _SECOND)),
            all(
                _prints(render, [first, *past, second, *rest], _FIRST, _SECOND)
                for past in _PASTS
                for rest in ([_USER], [])
            ),
        )

    alone, leading, inline = taken("system")
    knows, leads, interrupts = taken("system", "developer")
    developer = knows and (leads or not leading) and (interrupts or not inline)
    # What prints any role under its name knows nothing of this one, and its model has never seen
    # it.
    if developer and alone:
        named, stranger = (
            render([_says(role, _FIRST), _USER], None) for role in ("developer", "marabout")
        )
        developer = (
            named is None or stranger is None or named.replace("developer", "marabout") != stranger
        )
    return InstructionPlaces(developer=developer, leading=leading, inline=inline)


def _thinking(render: Render, *, as_text: bool) -> str | None:
    for name in _THINKING_NAMES:
        turns = [
            [_USER, {**_SAID, name: _FIRST}],
            _called("{}" if as_text else {}, **{name: _SECOND}),
        ]
        if any(
            _prints(render, turn, word) for turn, word in zip(turns, (_FIRST, _SECOND), strict=True)
        ):
            return name
    told = _says("assistant", in_text(_FIRST) + "Yes.")
    return None if _prints(render, [_USER, told, _USER], _FIRST) is False else IN_TEXT


def in_text(thinking: str) -> str:
    """Returns thinking as most models write it, to stand before their answer."""
    return f"<think>\n{thinking}\n</think>\n\n"
