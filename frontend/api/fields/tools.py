"""Clients offer functions, and say which of them may or must be called."""

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from frontend.api.fields.bound_schemas import bound_schema
from frontend.api.fields.schema_values import types_of
from frontend.api.fields.schemas import ChatCompletionRequest
from protocol.errors import InvalidRequest, UnsupportedParameter
from protocol.limits import NAME_CHARS_MAX

Tools = Sequence[dict[str, Any]]

TOOLS_BYTES_MAX: Final = 512 * 1024
"""The tools of a request may have so many bytes of JSON: they travel to the worker with each
choice, and its parsers read them there.

Two hundred large tools take half of it.
"""

_encode = msgspec.json.Encoder().encode

_MODES: Final = ("auto", "required")
_NOT_IN_NAMES: Final = frozenset('"\\')
_ANY_OBJECT: Final = {"type": "object"}
_SAYS_TYPE: Final = frozenset({"type", "$ref", "allOf", "anyOf", "oneOf", "enum", "const"})


def check_tools(request: ChatCompletionRequest) -> None:
    """Checks that every tool is a function with a name, and that the choice is one of them.

    Raises:
        InvalidRequest, UnsupportedParameter: naming the field.
    """
    if request.tools and len(_encode(request.tools)) > TOOLS_BYTES_MAX:
        raise InvalidRequest(f"tools may take {TOOLS_BYTES_MAX} bytes of JSON.", param="tools")
    for index, tool in enumerate(request.tools or ()):
        if tool.get("type", "function") != "function":
            raise UnsupportedParameter(
                "A tool must be a function: nothing else is called here.",
                param=f"tools[{index}].type",
            )
        if not _is_name(_get(tool.get("function"), "name")):
            raise InvalidRequest(
                "A tool must have a function with a name, of printable characters other than "
                "quotation marks and backslashes.",
                param=f"tools[{index}].function",
            )
        parameters = tool["function"].get("parameters")
        if parameters is not None and parameters is not True and not isinstance(parameters, dict):
            raise InvalidRequest(
                "The parameters of a function must be a JSON schema, of an object.",
                param=f"tools[{index}].function.parameters",
            )
    if request.tool_choice in (None, "none", "auto"):
        return
    if not request.tools:
        raise InvalidRequest(
            "tool_choice is only allowed when tools are specified.", param="tool_choice"
        )
    callable_tools(request)


def is_forced(choice: Any) -> bool:
    """Tells whether a tool_choice that was checked wants a call."""
    if isinstance(choice, dict) and cast("dict[str, Any]", choice).get("type") == "allowed_tools":
        return _get(cast("dict[str, Any]", choice).get("allowed_tools"), "mode") == "required"
    return choice not in (None, "none", "auto")


def held_schemas(request: ChatCompletionRequest) -> dict[str, Any]:
    """Returns, by function, the client's schema of its arguments, where those of a call are bound
    to it.
    """
    if request.tool_choice == "none":
        return {}
    forced = is_forced(request.tool_choice)
    functions = [
        tool["function"] for tool in request.tools or () if forced or tool["function"].get("strict")
    ]
    return {
        function["name"]: schema
        for function in functions
        if isinstance(schema := function.get("parameters"), dict)
    }


def told_tools(request: ChatCompletionRequest) -> list[dict[str, Any]] | None:
    """Returns the tools that the prompt begins with: all but the deferred ones, of which a later
    message tells; None for none.
    """
    return [tool for tool in request.tools or () if not tool.get("defer_loading")] or None


def callable_tools(request: ChatCompletionRequest) -> tuple[Tools, Any]:
    """Returns the tools that may be called, and the choice among them as SGLang takes it.

    A named function is the only one that may be called, and `allowed_tools` are those of a list;
    the prompt tells of the others too. Where a call is forced its arguments conform to their
    schema, whatever its tool says of `strict`.

    Raises:
        InvalidRequest: the choice has another form, or names a function that is not offered.
    """
    tools, choice = request.tools or (), request.tool_choice
    if not isinstance(choice, dict):
        return _held(tools, forced=choice == "required"), choice
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        mode, named = _get(allowed, "mode"), _get(allowed, "tools")
        if mode not in _MODES or not isinstance(named, list) or not named:
            raise InvalidRequest(
                "allowed_tools must have the mode auto or required, and tools.", param="tool_choice"
            )
        return _held(
            _among(tools, {_name(each) for each in cast("list[Any]", named)}),
            forced=mode == "required",
        ), mode
    return _held(_among(tools, {_name(choice)}), forced=True), choice


def _held(tools: Tools, *, forced: bool) -> Tools:
    """Returns the tools with the schemas of strict ones as grammars take them.

    Where a call is forced every tool is strict: SGLang would let its arguments be any JSON, a
    string or a number.
    """
    return [
        _strict(tool) if forced or tool["function"].get("strict") else _as_it_is(tool)
        for tool in tools
    ]


def _as_it_is(tool: dict[str, Any]) -> dict[str, Any]:
    function: dict[str, Any] = tool["function"]
    return (
        tool
        if function.get("parameters") is not True
        else {**tool, "function": {**function, "parameters": _ANY_OBJECT}}
    )


def _strict(tool: dict[str, Any]) -> dict[str, Any]:
    function = {name: value for name, value in tool["function"].items() if value is not None}
    return {
        **tool,
        "function": {**function, "parameters": _object_schema(function), "strict": True},
    }


def _object_schema(function: dict[str, Any]) -> Any:
    """Returns the schema of the function's arguments, which are an object whatever it says."""
    name, parameters = function["name"], function.get("parameters", True)
    if parameters is True:
        return _ANY_OBJECT
    bound = bound_schema(
        parameters, f"The schema of the function {name!r}", param="tools", namespace=f"{name}."
    )
    said = cast("dict[str, Any]", bound)  # by check_tools, who lets no other booleans through
    if _SAYS_TYPE.isdisjoint(said):
        return {**said, "type": "object"}
    if "object" not in (types_of(said) or ("object",)):
        raise InvalidRequest(
            f"The schema of the function {name!r} must be of type object.", param="tools"
        )
    return said


def _among(tools: Tools, names: set[str]) -> Tools:
    chosen = [tool for tool in tools if _name(tool) in names]
    if missing := names - {_name(tool) for tool in chosen}:
        raise InvalidRequest(
            f"tool_choice names {sorted(missing)[0][:NAME_CHARS_MAX]!r}, which is not in tools.",
            param="tool_choice",
        )
    return chosen


def _name(tool: Any) -> str:
    """Returns the function's name of a tool, or of a choice that names one."""
    name = _get(_get(tool, "function"), "name")
    if not _is_name(name):
        raise InvalidRequest("tool_choice must name functions.", param="tool_choice")
    return cast("str", name)


def _is_name(name: Any) -> bool:
    """Tells whether a call can name it: SGLang's parsers put names into JSON as they are, so that a
    forced call of another would never be one.
    """
    return (
        isinstance(name, str)
        and 0 < len(name) <= NAME_CHARS_MAX
        and name.isprintable()
        and _NOT_IN_NAMES.isdisjoint(name)
    )


def _get(value: Any, key: str) -> Any:
    """Returns what a client's JSON has at that key; None if it is no object, or has nothing."""
    return cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
