"""Custom tools, whose input is any text, are functions with one string to the model, and to the
client what they were.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace

from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.http.ignored import Ignored
from protocol.errors import InvalidRequest
from protocol.generation import ToolCall

_INPUT: Final = "input"
PARAMETERS: Final = {
    "type": "object",
    "properties": {
        _INPUT: {"type": "string", "description": "The whole input of the tool, as plain text."}
    },
    "required": [_INPUT],
    "additionalProperties": False,
}
"""Is the schema of the arguments of the function that a custom tool is."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, str]).decode


def custom_arguments(text: str) -> str:
    """Returns the arguments of the function that a custom tool is, made of its input."""
    return _encode({_INPUT: text}).decode()


def custom_input(arguments: str) -> str:
    """Returns the input of a custom tool, taken from its function's arguments; whatever else a
    model wrote is the input itself.
    """
    found = _input_of(arguments)
    return arguments if found is None else found


def _input_of(arguments: str) -> str | None:
    try:
        return _decode(arguments)[_INPUT]
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError, KeyError):
        return None


def custom_description(
    description: str | None, syntax: Any, definition: Any, ignored: Ignored
) -> str | None:
    """Returns a custom tool's description with the grammar of its input, if it has one: the model
    is told it and not held to it.
    """
    if not isinstance(definition, str):
        return description
    ignored.add("tools.format", "inputs of custom tools are not held to a grammar")
    rule = f"The input must follow this grammar ({syntax}):\n{definition}"
    return f"{description or ''}\n\n{rule}".strip()


def with_functions(
    request: ChatCompletionRequest, ignored: Ignored
) -> tuple[ChatCompletionRequest, frozenset[str]]:
    """Returns the chat with functions in place of custom tools, in its tools, its choice and its
    history, and the names of those tools.

    Args:
        ignored: takes a grammar of their input.
    Raises:
        InvalidRequest: one has no name, or its call in the history no input.
    """
    for at, message in enumerate(request.messages):
        calls = message.get("tool_calls")
        if isinstance(calls, list) and any(map(_is_custom, cast("list[Any]", calls))):
            message["tool_calls"] = [
                _call(call, f"messages[{at}].tool_calls[{n}]")
                for n, call in enumerate(cast("list[Any]", calls))
            ]
    names = [
        _named(tool, f"tools[{at}].custom")["name"]
        for at, tool in enumerate(request.tools or ())
        if _is_custom(tool)
    ]
    if not names:
        return request, frozenset()
    tools = [_function(tool, ignored) if _is_custom(tool) else tool for tool in request.tools or ()]
    return replace(request, tools=tools, tool_choice=_choice(request.tool_choice)), frozenset(names)


def _is_custom(value: Any) -> bool:
    return isinstance(value, dict) and cast("dict[str, Any]", value).get("type") == "custom"


def _named(value: Mapping[str, Any], param: str) -> dict[str, Any]:
    """Returns what a custom tool or call says of itself."""
    custom = value.get("custom")
    if not isinstance(custom, dict) or not isinstance(
        cast("dict[str, Any]", custom).get("name"), str
    ):
        raise InvalidRequest("A custom tool must have a name.", param=param)
    return cast("dict[str, Any]", custom)


def _call(call: Any, param: str) -> Any:
    if not _is_custom(call):
        return call
    custom = _named(call, f"{param}.custom")
    if not isinstance(custom.get(_INPUT), str):
        raise InvalidRequest(
            "The call of a custom tool must have an input, a string.", param=f"{param}.custom.input"
        )
    function = {"name": custom["name"], "arguments": custom_arguments(custom[_INPUT])}
    return {
        **{name: value for name, value in call.items() if name != "custom"},
        "type": "function",
        "function": function,
    }


def _function(tool: dict[str, Any], ignored: Ignored) -> dict[str, Any]:
    custom = cast("dict[str, Any]", tool["custom"])
    form: Any = custom.get("format")
    grammar: Any = cast("dict[str, Any]", form).get("grammar") if isinstance(form, dict) else None
    said = cast("dict[str, Any]", grammar) if isinstance(grammar, dict) else {}
    description = custom_description(
        custom.get("description"), said.get("syntax"), said.get("definition"), ignored
    )
    said_of_it = {} if description is None else {"description": description}
    return {
        "type": "function",
        "function": {"name": custom["name"], **said_of_it, "parameters": PARAMETERS},
    }


def _choice(choice: Any) -> Any:
    if _is_custom(choice):
        return {"type": "function", "function": choice.get("custom")}
    allowed: Any = (
        cast("dict[str, Any]", choice).get("allowed_tools") if isinstance(choice, dict) else None
    )
    if not isinstance(allowed, dict) or not isinstance(
        tools := cast("dict[str, Any]", allowed).get("tools"), list
    ):
        return cast("Any", choice)
    told: dict[str, Any] = {
        **allowed,
        "tools": [_choice(tool) for tool in cast("list[Any]", tools)],
    }
    return cast("dict[str, Any]", choice) | {"allowed_tools": told}


def told_call(call: ToolCall, names: frozenset[str]) -> dict[str, Any]:
    """Returns a whole call as a chat tells it; `names` are those of the custom tools."""
    if call.name in names:
        return {
            "id": call.call_id,
            "type": "custom",
            "custom": {"name": call.name, "input": custom_input(call.arguments)},
        }
    return {
        "id": call.call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def call_delta(call: ToolCall) -> dict[str, Any]:
    """Returns a piece of a function's call as a chunk tells it."""
    if not call.name:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    return {"index": call.index, **told_call(call, frozenset())}


class CallStream:
    """A CallStream tells the calls of a chat's choices, some of custom tools, whose input is told
    when the JSON around it has come to its end.

    Args:
        names: of the custom tools.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._arguments: dict[tuple[int, int], str | None] = {}
        """Maps choice and call to what has come of a custom tool's arguments; None once the input
        is told.
        """

    def deltas(
        self, choice: int, pieces: Iterable[ToolCall], *, ended: bool
    ) -> Sequence[dict[str, Any]]:
        """Returns what a chunk tells of these pieces of a choice's calls."""
        told: list[dict[str, Any]] = []
        for piece in pieces:
            key = choice, piece.index
            if piece.name in self._names:
                self._arguments[key] = ""
                told.append(
                    {
                        "index": piece.index,
                        "id": piece.call_id,
                        "type": "custom",
                        "custom": {"name": piece.name, "input": ""},
                    }
                )
            elif key not in self._arguments:
                told.append(call_delta(piece))
                continue
            if (before := self._arguments[key]) is not None:
                self._arguments[key] = arguments = before + piece.arguments
                if arguments.rstrip().endswith("}") and (text := _input_of(arguments)) is not None:
                    told.append(self._input(key, text))
        if ended:
            left = [
                (key, arguments)
                for key, arguments in self._arguments.items()
                if key[0] == choice and arguments is not None
            ]
            told += [self._input(key, custom_input(arguments)) for key, arguments in left]
        return told

    def _input(self, key: tuple[int, int], text: str) -> dict[str, Any]:
        self._arguments[key] = None
        return {"index": key[1], "custom": {"input": text}}
