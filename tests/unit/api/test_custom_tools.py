"""Custom tools of chats: functions to the model, and themselves to the client, whole and
streamed.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessage

from frontend.api.fields.custom_tools import (
    PARAMETERS,
    CallStream,
    custom_arguments,
    with_functions,
)
from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.api.fields.tools import check_tools
from frontend.api.openai.chat_objects import message_of
from frontend.http.ignored import Ignored
from frontend.text.output.gain import Answer, Gain
from protocol.errors import InvalidRequest
from protocol.generation import ToolCall

GREP = {"type": "custom", "custom": {"name": "grep"}}
LOOK = {"type": "function", "function": {"name": "look"}}
NAMES = frozenset({"grep"})


def chat(*messages: dict[str, Any], **fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest(
        model="m", messages=[{"role": "user", "content": "x"}, *messages], **fields
    )


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("required", "required"),
        (GREP, function("grep")),
        (LOOK, LOOK),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [GREP, LOOK]}},
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [function("grep"), LOOK]},
            },
        ),
    ],
)
def test_the_model_is_offered_functions(choice: Any, told: Any) -> None:
    request, names = with_functions(chat(tools=[LOOK, GREP], tool_choice=choice), Ignored("refuse"))
    check_tools(request)
    assert names == NAMES
    assert request.tools == [LOOK, function("grep", parameters=PARAMETERS)]
    assert request.tool_choice == told


def test_a_grammar_is_told_and_said_not_to_hold() -> None:
    ignored = Ignored("ignore")
    form = {"type": "grammar", "grammar": {"syntax": "lark", "definition": 'start: "a"'}}
    tool = {"type": "custom", "custom": {"name": "grep", "description": "Finds.", "format": form}}
    request, _ = with_functions(chat(tools=[tool]), ignored)
    assert request.tools is not None
    assert (
        request.tools[0]["function"]["description"]
        == 'Finds.\n\nThe input must follow this grammar (lark):\nstart: "a"'
    )
    assert ignored.names == ("tools.format",)


def test_calls_of_the_past_are_calls_of_functions() -> None:
    call = {"id": "c1", "type": "custom", "custom": {"name": "grep", "input": 'say "hi"'}}
    other = {"id": "c2", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    request, names = with_functions(
        chat({"role": "assistant", "content": None, "tool_calls": [call, other]}), Ignored("refuse")
    )
    arguments = custom_arguments('say "hi"')
    assert request.messages[1]["tool_calls"] == [
        {"id": "c1", **function("grep", arguments=arguments)},
        other,
    ]
    assert names == frozenset()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [LOOK, {"type": "custom"}]}, "tools[1].custom"),
        ({"tools": [{"type": "custom", "custom": {"name": 7}}]}, "tools[0].custom"),
        ({"tools": [{"type": "custom", "custom": {"name": ""}}]}, "tools[0].function"),
        ({"tools": [GREP], "tool_choice": {"type": "custom"}}, "tool_choice"),
        (
            {"tools": [GREP], "tool_choice": {"type": "custom", "custom": {"name": "other"}}},
            "tool_choice",
        ),
    ],
)
def test_what_is_none_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_tools(with_functions(chat(**fields), Ignored("refuse"))[0])
    assert raised.value.param == param


@pytest.mark.parametrize(
    "custom", [None, {"name": "grep"}, {"input": "a"}, {"name": "grep", "input": {}}]
)
def test_a_call_of_the_past_without_name_or_input_is_refused(custom: Any) -> None:
    message = {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": custom}]}
    with pytest.raises(InvalidRequest) as raised:
        with_functions(chat(message), Ignored("refuse"))
    assert (raised.value.param or "").startswith("messages[1].tool_calls[0].custom")


@given(st.text(), st.text(), st.booleans(), st.data())
def test_a_stream_tells_what_the_whole_answer_does(
    first: str, second: str, broken: bool, data: st.DataObject
) -> None:
    arguments = [custom_arguments(first), custom_arguments(second)]
    if broken:
        arguments[1] = arguments[1][:-1]
    calls = [
        ToolCall(0, "a", "grep", arguments[0]),
        ToolCall(1, "b", "look", '{"at": 1}'),
        ToolCall(2, "c", "grep", arguments[1]),
    ]
    pieces: list[ToolCall] = []
    for call in calls:
        cut = data.draw(st.integers(0, len(call.arguments)))
        pieces += [
            ToolCall(call.index, call.call_id, call.name, call.arguments[:cut]),
            ToolCall(call.index, arguments=call.arguments[cut:]),
        ]
    answer = Answer()
    answer.add(Gain(calls=pieces))
    whole = message_of(answer, NAMES)
    stream, streamed = CallStream(NAMES), dict[int, dict[str, Any]]()
    for at, piece in enumerate(pieces):
        for delta in stream.deltas(0, [piece], ended=at == len(pieces) - 1):
            _add(streamed.setdefault(delta.pop("index"), {}), delta)
    assert list(streamed.values()) == whole["tool_calls"]
    assert [call["type"] for call in whole["tool_calls"]] == ["custom", "function", "custom"]
    assert whole["tool_calls"][0]["custom"]["input"] == first
    ChatCompletionMessage.model_validate(whole, strict=True)


def _add(told: dict[str, Any], delta: dict[str, Any]) -> None:
    """As clients put deltas together."""
    for name, value in delta.items():
        if isinstance(value, dict):
            _add(told.setdefault(name, {}), value)  # pyright: ignore[reportUnknownArgumentType]
        else:
            told[name] = told.get(name, "") + value
