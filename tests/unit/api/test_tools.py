"""What clients may say of tools, and what of it reaches the engine."""

from typing import Any

import pytest

from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.api.fields.tools import callable_tools, check_tools, told_tools
from protocol.errors import InvalidRequest


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def chat(tools: list[dict[str, Any]] | None, choice: Any = None) -> ChatCompletionRequest:
    return ChatCompletionRequest(
        model="m", messages=[{"role": "user", "content": "x"}], tools=tools, tool_choice=choice
    )


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {
        "type": "allowed_tools",
        "allowed_tools": {"mode": mode, "tools": [tool(name) for name in names]},
    }


@pytest.mark.parametrize(
    ("choice", "names", "passed_on"),
    [
        (None, ["a", "b"], None),
        ("required", ["a", "b"], "required"),
        (tool("b"), ["b"], tool("b")),
        (allowed("auto", "b"), ["b"], "auto"),
        (allowed("required", "b", "a"), ["a", "b"], "required"),
    ],
)
def test_only_what_was_chosen_may_be_called(choice: Any, names: list[str], passed_on: Any) -> None:
    request = chat([tool("a"), tool("b")], choice)
    check_tools(request)
    tools, engines_choice = callable_tools(request)
    assert [each["function"]["name"] for each in tools] == names
    assert engines_choice == passed_on


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([{"type": "custom", "custom": {"name": "grep"}}], "tools[0].type"),
        ([tool("a"), {"type": "function"}], "tools[1].function"),
        ([{"type": "function", "function": {"name": ""}}], "tools[0].function"),
        ([{"type": "function", "function": {"name": "a\n"}}], "tools[0].function"),
        ([{"type": "function", "function": {"name": 'a"'}}], "tools[0].function"),
        ([{"type": "function", "function": {"name": "a\\b"}}], "tools[0].function"),
        ([{"type": "function", "function": "a"}], "tools[0].function"),
    ],
)
def test_a_tool_is_a_function_with_a_name(tools: list[dict[str, Any]], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_tools(chat(tools))
    assert raised.value.param == param


@pytest.mark.parametrize(
    "choice",
    [
        tool("c"),
        {"type": "function"},
        {"type": "nonsense"},
        allowed("auto", "c"),
        allowed("sometimes", "a"),
        allowed("auto"),
        {"type": "allowed_tools"},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": ["a"]}},
    ],
)
def test_a_choice_is_one_of_the_tools(choice: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_tools(chat([tool("a")], choice))
    assert raised.value.param == "tool_choice"


@pytest.mark.parametrize("choice", ["required", tool("a")])
def test_a_call_cannot_be_forced_without_tools(choice: Any) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_tools(chat(None, choice))
    assert raised.value.param == "tool_choice"
    check_tools(chat(None, "none"))
    check_tools(chat(None, "auto"))


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "function": {"name": "add"}},
        allowed("required", "add"),
        "auto",
    ],
)
def test_a_forced_call_conforms_to_its_schema_whatever_its_tool_says(choice: Any) -> None:
    for said in ({"parameters": None}, {"strict": False}, {"strict": None}):
        [told], _ = callable_tools(
            chat([{"type": "function", "function": {"name": "add", **said}}], choice)
        )
        if choice == "auto":
            assert told["function"] == {"name": "add", **said}
        else:
            assert told["function"] == {
                "name": "add",
                "strict": True,
                "parameters": {"type": "object"},
            }


def test_a_deferred_tool_may_be_called_and_is_not_told_at_the_beginning() -> None:
    request = chat([tool("a"), tool("b") | {"defer_loading": True}])
    assert told_tools(request) == [tool("a")]
    assert len(callable_tools(request)[0]) == 2
    assert told_tools(chat([tool("b") | {"defer_loading": True}])) is None
    assert told_tools(chat(None)) is None


def function(parameters: Any, *, strict: bool | None = None) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": "f", "parameters": parameters, "strict": strict},
    }


@pytest.mark.parametrize(
    ("strict", "choice", "held"),
    [
        (None, "auto", False),
        (True, "auto", True),
        (None, "required", True),
        (None, tool("f"), True),
        (None, allowed("required", "f"), True),
    ],
)
def test_a_schema_that_is_not_enforced_is_refused_wherever_arguments_would_be_held_to_it(
    strict: bool | None, choice: Any, held: bool
) -> None:
    schema = {"type": "object", "properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}}
    request = chat([function(schema, strict=strict)], choice)
    if not held:
        assert callable_tools(request)[0][0]["function"]["parameters"] == schema
        return
    with pytest.raises(InvalidRequest, match=r"'f'.*'dependentRequired'") as raised:
        callable_tools(request)
    assert raised.value.param == "tools"


@pytest.mark.parametrize(
    ("parameters", "bound"),
    [
        (True, {"type": "object"}),
        (None, {"type": "object"}),
        ({}, {"type": "object"}),
        (
            {"$defs": {"A": {"type": "object"}}, "$ref": "#/$defs/A"},
            {"$ref": "#/$defs/f.A", "$defs": {"f.A": {"type": "object"}}},
        ),
        (
            {
                "type": "object",
                "properties": {"x": {}, "y": {}},
                "anyOf": [{"required": ["x"]}, {"required": ["y"]}],
            },
            {
                "anyOf": [
                    {"type": "object", "properties": {"x": {}, "y": {}}, "required": [name]}
                    for name in "xy"
                ]
            },
        ),
    ],
)
def test_the_arguments_of_a_forced_call_are_an_object_of_their_schema(
    parameters: Any, bound: Any
) -> None:
    (held,), _ = callable_tools(chat([function(parameters)], "required"))
    assert held["function"] == {"name": "f", "parameters": bound, "strict": True}


def test_parameters_true_allow_any_object_where_nothing_is_forced_too() -> None:
    (free,), _ = callable_tools(chat([function(True)]))
    assert free["function"]["parameters"] == {"type": "object"}


@pytest.mark.parametrize(
    ("parameters", "choice", "param"),
    [
        (False, None, "tools[0].function.parameters"),
        (5, "required", "tools[0].function.parameters"),
        ({"type": "string"}, "required", "tools"),
    ],
)
def test_parameters_that_no_object_conforms_to_are_refused(
    parameters: Any, choice: Any, param: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_tools(chat([function(parameters)], choice))
    assert raised.value.param == param
