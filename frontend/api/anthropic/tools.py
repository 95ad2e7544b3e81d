"""Anthropic's tools become OpenAI's functions here, and the choice among them OpenAI's.

Tools that run on Anthropic's servers are left out, since a model that has none answers too, unless
one must be called. Of the others whose schema Anthropic has, a client expects calls: they are
refused.
"""

from collections.abc import Sequence
from typing import Any, Final

from frontend.api.anthropic.schemas import (
    CountTokensRequest,
    Tool,
    ToolReferenceBlock,
    ToolResultBlock,
)
from frontend.http.ignored import Ignored
from protocol.errors import InvalidRequest, UnsupportedParameter

_RUN_BY_CLIENTS: Final = ("bash_", "computer_", "memory_", "text_editor_")
"""Holds the beginnings of the types of tools that clients run."""

_SEARCH: Final = "tool_search_tool_"


def tools_of(request: CountTokensRequest, ignored: Ignored) -> list[dict[str, Any]]:
    """Returns the functions that may be called: those of the client's own that are told from the
    beginning, and those that a message refers to.

    Raises:
        UnsupportedParameter: a tool can be offered by nobody but Anthropic.
        InvalidRequest: a tool has no schema.
    """
    given = request.tools or ()
    # Nothing is searched here: what a search would have to find is told from the beginning.
    searched = any((tool.type or "").startswith(_SEARCH) for tool in given)
    referred = (
        set[str]()
        if searched or not any(tool.defer_loading for tool in given)
        else _referred(request)
    )
    functions: list[dict[str, Any]] = []
    for at, tool in enumerate(given):
        if tool.type not in (None, "custom"):
            _leave_out(tool.type, f"tools[{at}].type", ignored)
        elif tool.allowed_callers and "direct" not in tool.allowed_callers:
            ignored.add(
                "tools.allowed_callers",
                "no code is run here that could call it",
                param=f"tools[{at}].allowed_callers",
            )
        elif searched or not tool.defer_loading:
            functions.append(_function(tool, f"tools[{at}]"))
        elif tool.name in referred:
            functions.append(_function(tool, f"tools[{at}]") | {"defer_loading": True})
    return functions


def tool_choice_of(request: CountTokensRequest, functions: Sequence[dict[str, Any]]) -> Any:
    """Returns what must or may be called, as OpenAI says it.

    Raises:
        UnsupportedParameter: a tool must be called that runs on Anthropic's servers.
        InvalidRequest: it is none of the tools, or there are none.
    """
    choice = request.tool_choice
    if choice is None or (choice.type == "auto" and not functions):
        return None
    if choice.type in ("none", "auto"):
        return choice.type
    if not request.tools:
        raise InvalidRequest(
            "tool_choice is only allowed when tools are given.", param="tool_choice"
        )
    names = [tool["function"]["name"] for tool in functions]
    if choice.type == "any" and names:
        return "required"
    if choice.type == "tool" and choice.name in names:
        return {"type": "function", "function": {"name": choice.name}}
    if choice.type == "any" or choice.name in [tool.name for tool in request.tools]:
        raise UnsupportedParameter(
            "tool_choice forces a tool that is not run here, or that is deferred.",
            param="tool_choice",
        )
    raise InvalidRequest("tool_choice.name is none of the tools.", param="tool_choice.name")


def _leave_out(kind: str, param: str, ignored: Ignored) -> None:
    if kind.startswith(_RUN_BY_CLIENTS):
        raise UnsupportedParameter(
            (
                f"Tools of type {kind[:100]!r} have a schema that only Anthropic's models know; "
                "offer it as a tool of your own."
            ),
            param=param,
        )
    ignored.add(
        f"tools.{kind}", "it runs on Anthropic's servers; only custom tools work here", param=param
    )


def _referred(request: CountTokensRequest) -> set[str]:
    """Returns the names of the tools that the messages refer to."""
    blocks = [
        block
        for message in request.messages
        if not isinstance(message.content, str)
        for block in message.content
    ]
    results = [
        block.content
        for block in blocks
        if isinstance(block, ToolResultBlock) and isinstance(block.content, list)
    ]
    every = [*blocks, *(part for parts in results for part in parts)]
    return {block.tool_name for block in every if isinstance(block, ToolReferenceBlock)}


def _function(tool: Tool, param: str) -> dict[str, Any]:
    if tool.input_schema is None:
        raise InvalidRequest(
            f"Missing required parameter: '{param}.input_schema'.", param=f"{param}.input_schema"
        )
    parameters: dict[str, Any] = {"type": "object", **tool.input_schema}
    if tool.input_examples:
        parameters.setdefault("examples", tool.input_examples)
    function: dict[str, Any] = {"name": tool.name, "parameters": parameters}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}
