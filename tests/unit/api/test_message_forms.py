"""Messages as older clients and other APIs write them become those that templates know."""

from typing import Any

import msgspec
import pytest

from frontend.api.anthropic.conversion import chat_of
from frontend.api.anthropic.schemas import CountTokensRequest
from frontend.api.fields.messages import check_messages
from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.api.openai.chat import check_chat
from frontend.api.prompts.worker_chats import chat_for_worker
from frontend.http.ignored import REFUSING
from protocol.errors import InvalidRequest, UnsupportedParameter
from protocol.membership import ModelCard

USER = {"role": "user", "content": "hi"}


def checked(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a body, checked."""
    told = msgspec.json.decode(msgspec.json.encode(list(messages)))
    check_messages(told)
    return told


def said(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, **fields}


@pytest.mark.parametrize("role", ["User", "USER", "user"])
def test_the_case_of_a_role_is_no_matter(role: str) -> None:
    assert checked({"role": role, "content": "hi"}) == [USER]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "no"},
        {"type": "input_text", "text": "no"},
        {"type": "output_text", "text": "no", "annotations": []},
        {"type": "refusal", "refusal": "no"},
    ],
)
def test_parts_of_answers_are_texts(part: dict[str, Any]) -> None:
    (message,) = checked(said(content=[part]))
    assert message["content"] == [{"type": "text", "text": "no"}]


def test_a_refusal_is_what_the_assistant_said() -> None:
    assert checked(said(refusal="No.")) == [said(content="No.")]
    assert checked(said(content="Well.", refusal="No.")) == [said(content="Well.\nNo.")]
    assert checked(said(content="Well.", refusal=None)) == [said(content="Well.")]
    parts = [{"type": "text", "text": "Well."}]
    assert checked(said(content=parts, refusal="No.")) == [
        said(content=[*parts, {"type": "text", "text": "No."}])
    ]


@pytest.mark.parametrize("role", ["tool", "function"])
def test_a_result_of_nothing_is_empty(role: str) -> None:
    (message,) = checked({"role": role, "content": None, "tool_call_id": "c", "name": "f"})
    assert (message["role"], message["content"]) == ("tool", "")


def test_functions_are_tools() -> None:
    call = {"name": "f", "arguments": '{"a": 1}'}
    result = {"role": "function", "name": "f", "content": "2"}
    messages = checked(USER, said(function_call=call), result, said(content="Two."))
    made = {"id": "call00001", "type": "function", "function": call}
    assert messages[1] == said(tool_calls=[made])
    assert messages[2] == {"role": "tool", "name": "f", "content": "2", "tool_call_id": "call00001"}
    assert checked(said(function_call=None, tool_calls=[made])) == [said(tool_calls=[made])]


def test_thinking_has_one_name() -> None:
    assert checked(said(reasoning="Hm.")) == [said(reasoning_content="Hm.")]
    assert checked(said(reasoning="Hm.", reasoning_content="Hm.")) == [
        said(reasoning_content="Hm.")
    ]
    assert checked(said(reasoning="Hm.", reasoning_content=None)) == [said(reasoning_content="Hm.")]
    assert checked(said(reasoning=None)) == [said()]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (said(reasoning={"a": 1}), "messages[0].reasoning"),
        (said(reasoning_content=["a"]), "messages[0].reasoning_content"),
        (said(refusal=7), "messages[0].refusal"),
        (said(function_call="f"), "messages[0].function_call"),
        (said(function_call={"arguments": "{}"}), "messages[0].function_call"),
        (said(function_call={"name": "f"}, tool_calls=[{}]), "messages[0].function_call"),
        (said(content=[{"type": "refusal"}]), "messages[0].content[0].refusal"),
        (said(audio={"id": "a"}), "messages[0].audio"),
        (
            {"role": "user", "content": [{"type": "refusal", "refusal": "no"}]},
            "messages[0].content[0].type",
        ),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"role": "Kings", "content": ""}, "messages[0].role"),
    ],
)
def test_what_has_no_meaning_is_refused_with_its_place(message: dict[str, Any], param: str) -> None:
    with pytest.raises((InvalidRequest, UnsupportedParameter)) as raised:
        checked(message)
    assert raised.value.param == param


def test_no_top_logprobs_ask_for_nothing() -> None:
    check_chat(ChatCompletionRequest(model="m", messages=[dict(USER)], top_logprobs=0))
    with pytest.raises(InvalidRequest):
        check_chat(ChatCompletionRequest(model="m", messages=[dict(USER)], top_logprobs=1))


@pytest.mark.parametrize("content", ["", []])
def test_an_empty_message_of_the_assistant_at_the_end_is_where_the_answer_begins(
    content: Any,
) -> None:
    asked = {"model": "m", "messages": [USER, {"role": "assistant", "content": content}]}
    chat = chat_of(msgspec.convert(asked, CountTokensRequest), REFUSING)
    assert chat.messages == [USER]
    assert chat.add_generation_prompt


@pytest.mark.parametrize("arguments", ["{", "null", None, '{"a": 1}'])
def test_workers_are_told_arguments_as_objects(arguments: str | None) -> None:
    messages = [
        dict(USER),
        said(
            tool_calls=[
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
            ]
        ),
    ]
    card = ModelCard(
        name="m", context_length=64, vocab_size=8, eos_token_ids=[0], files=[], tokenizes=True
    )
    told = msgspec.json.decode(
        chat_for_worker(card, ChatCompletionRequest(model="m", messages=messages))
    )
    assert told["messages"][0] == USER
    (call,) = told["messages"][1]["tool_calls"]
    assert call["function"]["arguments"] == ({"a": 1} if arguments == '{"a": 1}' else {})
