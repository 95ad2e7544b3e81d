"""The tools of a request become functions, and their calls are told under the names and types that
the client knows.

A custom tool is a function (custom_tools.py); a namespace's tools bear its name before their own.
What runs on OpenAI's servers is left out, since a model that has none answers too, unless it must
be called, or a client has named files, code or servers of its own for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec

from frontend.api.fields.custom_tools import PARAMETERS, custom_description
from frontend.api.responses.schemas import OfferedTool
from frontend.http.ignored import Ignored
from protocol.errors import InvalidRequest, UnsupportedParameter

_REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("file_search", "code_interpreter", "mcp"), "it runs on OpenAI's servers"),
    **dict.fromkeys(
        ("computer", "computer_use_preview", "local_shell", "shell", "apply_patch"),
        "only OpenAI's models know how it is called",
    ),
}
"""Maps the type of a tool to why it cannot be offered. Whoever sends one of these counts on it."""

_FIELDS: Final = frozenset((*OfferedTool.__struct_fields__, "defer_loading"))
"""Names the known fields of a tool. `defer_loading` waits for a search; nothing is searched here,
so that every tool is told from the beginning.
"""


class ToolName(NamedTuple):
    """A ToolName is how a client knows a tool: its kind, its name, and its namespace if any."""

    kind: Literal["function", "custom"]
    name: str
    namespace: str | None = None


class OfferedTools:
    """An OfferedTools holds the functions that the model is offered, and knows what each is to the
    client.

    Args:
        given: tools as they came.
        ignored: takes those that are left out.
    Raises:
        UnsupportedParameter: one can be offered by nobody but OpenAI.
        InvalidRequest: one is malformed, or two have one name.
    """

    def __init__(self, given: Sequence[dict[str, Any]], ignored: Ignored) -> None:
        self.functions: list[dict[str, Any]] = []
        self._names: dict[str, ToolName] = {}
        self._ignored = ignored
        for at, raw in enumerate(given):
            self._add(raw, f"tools[{at}]", None)

    def name_of(self, function: str) -> ToolName:
        """Returns how the client knows a function; a name that was not offered is its own."""
        return self._names.get(function) or ToolName("function", function)

    def choice(self, asked: Any) -> Any:
        """Returns a tool_choice as a chat says it.

        Raises:
            UnsupportedParameter: it forces a tool that is not run here, or has another form.
            InvalidRequest: it names a tool that is not offered.
        """
        if not isinstance(asked, dict):
            if asked == "required" and not self.functions:
                raise UnsupportedParameter(
                    "tool_choice forces a call, and none of the tools can be called here.",
                    param="tool_choice",
                )
            return asked if self.functions or asked == "none" else None
        choice = cast("dict[str, Any]", asked)
        if choice.get("type") == "allowed_tools" and isinstance(choice.get("tools"), list):
            allowed = [self._chosen(tool) for tool in cast("list[Any]", choice["tools"])]
            return {
                "type": "allowed_tools",
                "allowed_tools": {"mode": choice.get("mode"), "tools": allowed},
            }
        return self._chosen(choice)

    def _chosen(self, asked: Any) -> dict[str, Any]:
        choice = cast("dict[str, Any]", asked) if isinstance(asked, dict) else {}
        if choice.get("type") not in ("function", "custom"):
            raise UnsupportedParameter(
                "tool_choice can be none, auto, required or a function or custom tool.",
                param="tool_choice.type",
            )
        name = flat_name(choice.get("namespace"), choice.get("name"))
        if name not in self._names:
            raise InvalidRequest("tool_choice.name is none of the tools.", param="tool_choice.name")
        return {"type": "function", "function": {"name": name}}

    def _add(self, raw: Any, param: str, namespace: str | None) -> None:
        tool = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
        kind = tool.get("type")
        if not isinstance(kind, str):
            raise InvalidRequest("A tool must have a type.", param=f"{param}.type")
        if kind == "namespace" and namespace is None:
            self._add_namespace(tool, param)
        elif kind in ("function", "custom"):
            self._add_function(tool, param, namespace)
        elif kind in _REFUSED:
            raise UnsupportedParameter(
                f"Tools of type {kind!r} are not supported: {_REFUSED[kind]}.",
                param=f"{param}.type",
            )
        else:
            self._ignored.add(
                f"tools.{kind}",
                "only functions and custom tools are called here",
                param=f"{param}.type",
            )

    def _add_namespace(self, tool: Mapping[str, Any], param: str) -> None:
        name, inner = tool.get("name"), tool.get("tools")
        if not isinstance(name, str) or not name or not isinstance(inner, list):
            raise InvalidRequest("A namespace must have a name and tools.", param=param)
        for at, each in enumerate(cast("list[Any]", inner)):
            self._add(each, f"{param}.tools[{at}]", name)

    def _add_function(self, raw: dict[str, Any], param: str, namespace: str | None) -> None:
        try:
            tool = msgspec.convert(raw, OfferedTool)
        except msgspec.ValidationError as error:
            reason, _, at = str(error).replace("`", "").partition(" - at $")
            raise InvalidRequest(f"Invalid tool: {reason}.", param=param + at) from None
        for name in raw.keys() - _FIELDS:
            self._ignored.add(f"tools.{name}", "it is unknown", param=f"{param}.{name}")
        flat = flat_name(namespace, tool.name)
        if flat in self._names:
            raise InvalidRequest(f"Two tools have the name {flat[:100]!r}.", param=f"{param}.name")
        self._names[flat] = ToolName(
            "custom" if tool.type == "custom" else "function", tool.name, namespace
        )
        self.functions.append({"type": "function", "function": self._function(tool, flat)})

    def _function(self, tool: OfferedTool, name: str) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "name": name,
            "description": tool.description,
            "parameters": tool.parameters,
            "strict": tool.strict,
        }
        if tool.type == "custom":
            fields |= {"description": self._custom_description(tool), "parameters": PARAMETERS}
        return {name: value for name, value in fields.items() if value is not None}

    def _custom_description(self, tool: OfferedTool) -> str | None:
        given = tool.format or {}
        definition = given.get("definition") if given.get("type") == "grammar" else None
        return custom_description(tool.description, given.get("syntax"), definition, self._ignored)


def flat_name(namespace: Any, name: Any) -> str:
    """Returns the name of the function that a tool in a namespace, or in none, is to the model."""
    if not namespace:
        return str(name)
    return f"{namespace}{name}" if str(namespace).endswith("__") else f"{namespace}__{name}"
