"""Tools of /v1/responses as Codex sends them: functions for the model, and back under their own
names.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.api.answers.blocks import blocks_of
from frontend.api.fields.custom_tools import custom_arguments, custom_input
from frontend.api.responses.answers import Items
from frontend.api.responses.items import messages_of
from frontend.api.responses.tools import OfferedTools
from frontend.http.ignored import REFUSING, Ignored
from frontend.text.output.gain import Gain
from protocol.errors import InvalidRequest, UnsupportedParameter
from protocol.generation import ToolCall
from tests.unit.api.test_blocks import events_of
from tests.unit.api.test_responses import EVENT, stream

RUN = {
    "type": "function",
    "name": "run",
    "description": "Runs it.",
    "strict": False,
    "parameters": {"type": "object", "properties": {}},
}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "X"},
}
AGENTS = {
    "type": "namespace",
    "name": "agents",
    "description": "Others.",
    "tools": [RUN, PATCH | {"name": "note", "format": {"type": "text"}}],
}
SEARCH = {"type": "web_search", "external_web_access": False}


def offered(*tools: dict[str, Any], ignored: Ignored | None = None) -> OfferedTools:
    return OfferedTools(tools, ignored or Ignored("ignore"))


def test_each_is_a_function_and_what_runs_elsewhere_is_left_out_and_named() -> None:
    ignored = Ignored("ignore")
    tools = offered(RUN, PATCH, AGENTS, SEARCH, ignored=ignored)
    functions = [tool["function"] for tool in tools.functions]
    assert [function["name"] for function in functions] == [
        "run",
        "apply_patch",
        "agents__run",
        "agents__note",
    ]
    assert functions[0] == {
        name: RUN[name] for name in ("name", "description", "parameters", "strict")
    }
    assert functions[1]["parameters"]["properties"].keys() == {"input"}
    assert functions[1]["description"] == "Edits.\n\nThe input must follow this grammar (lark):\nX"
    assert functions[3]["description"] == "Edits."
    assert ignored.names == ("tools.format", "tools.web_search")
    with pytest.raises(UnsupportedParameter):
        offered(SEARCH, ignored=REFUSING)


def test_calls_bear_the_clients_names() -> None:
    calls = [
        ToolCall(at, f"call_{at}", name, arguments) for at, (name, arguments) in enumerate(CALLED)
    ]
    items = Items("f", offered(RUN, PATCH, AGENTS))
    told = [items.item(block, "completed", []) for block in blocks_of("", "", calls)]
    assert [(item["type"], item["name"], item.get("namespace")) for item in told] == [
        ("function_call", "run", None),
        ("custom_tool_call", "apply_patch", None),
        ("function_call", "run", "agents"),
        ("custom_tool_call", "note", "agents"),
        ("function_call", "never_offered", None),
    ]
    assert [item.get("input", item.get("arguments")) for item in told] == [
        "{}",
        "*** Begin\n",
        '{"a": 1}',
        '{"input": "cut',
        "{}",
    ]


CALLED = (
    ("run", "{}"),
    ("apply_patch", '{"input": "*** Begin\\n"}'),
    ("agents__run", '{"a": 1}'),
    ("agents__note", '{"input": "cut'),
    ("never_offered", "{}"),
)


def test_the_input_of_a_custom_tool_has_its_own_events() -> None:
    writer = stream(PATCH)
    pieces = [ToolCall(0, "call_0", "apply_patch", '{"input": "a'), ToolCall(0, arguments='\\nb"}')]
    events = events_of(
        b"".join(writer.gained(Gain(calls=[piece]), []) for piece in pieces)
        + writer.gained(Gain(text="."), [])
    )
    for event in events:
        EVENT.validate_python(event)
    assert [event["type"].removeprefix("response.") for event in events[:4]] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    assert events[0]["item"]["input"] == ""
    assert events[1]["delta"] == events[2]["input"] == events[3]["item"]["input"] == "a\nb"


def test_calls_come_back_as_the_functions_that_they_were() -> None:
    items = [
        {
            "type": "custom_tool_call",
            "id": "ctc_1",
            "call_id": "1",
            "name": "apply_patch",
            "input": "a\n",
            "status": "completed",
        },
        {"type": "custom_tool_call_output", "call_id": "1", "output": "Done."},
        {
            "type": "function_call",
            "call_id": "2",
            "namespace": "agents",
            "name": "run",
            "arguments": "{}",
        },
        {"type": "function_call_output", "call_id": "2", "output": "ok"},
        {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {"type": "search", "query": "x"},
        },
    ]
    ignored = Ignored("ignore")
    messages = messages_of(None, items, ignored)
    assert [message["role"] for message in messages] == ["assistant", "tool", "assistant", "tool"]
    called = [message["tool_calls"][0]["function"] for message in messages[::2]]
    assert called == [
        {"name": "apply_patch", "arguments": custom_arguments("a\n")},
        {"name": "agents__run", "arguments": "{}"},
    ]
    assert ignored.names == ("input.web_search_call",)


@given(st.text())
def test_an_input_survives_being_an_argument(text: str) -> None:
    assert custom_input(custom_arguments(text)) == text


@pytest.mark.parametrize(
    "arguments", ["", "{", '"x"', '{"input": 1}', '{"other": "x"}', "[" * 5_000]
)
def test_other_arguments_are_the_input_itself(arguments: str) -> None:
    assert custom_input(arguments) == arguments


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        (None, None),
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "custom", "name": "apply_patch"}, "apply_patch"),
        ({"type": "function", "name": "run", "namespace": "agents"}, "agents__run"),
    ],
)
def test_a_choice_names_the_function(asked: Any, chosen: str | None) -> None:
    choice = offered(RUN, PATCH, AGENTS).choice(asked)
    assert choice == chosen or choice == {"type": "function", "function": {"name": chosen}}


def test_allowed_tools_are_those_of_a_chat() -> None:
    asked = {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "run"}],
    }
    assert offered(RUN).choice(asked) == {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [{"type": "function", "function": {"name": "run"}}],
        },
    }


@pytest.mark.parametrize(
    ("tools", "choice", "param"),
    [
        ([SEARCH], "required", "tool_choice"),
        ([SEARCH, RUN], {"type": "web_search"}, "tool_choice.type"),
        ([RUN], {"type": "function", "name": "other"}, "tool_choice.name"),
        ([RUN, RUN], None, "tools[1].name"),
        ([{"type": "mcp", "server_label": "x", "server_url": "https://x"}], None, "tools[0].type"),
        ([{"type": "file_search", "vector_store_ids": ["x"]}], None, "tools[0].type"),
        ([{"type": "local_shell"}], None, "tools[0].type"),
        ([{"type": "namespace", "name": "n"}], None, "tools[0]"),
        (
            [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}],
            None,
            "tools[0].tools[0]",
        ),
        ([{"name": "x"}], None, "tools[0].type"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    tools: list[dict[str, Any]], choice: Any, param: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        offered(*tools).choice(choice)
    assert raised.value.param == param


def test_with_nothing_left_to_call_auto_is_no_choice() -> None:
    assert offered(SEARCH).choice("auto") is None
