"""Requests to /v1/messages as Claude Code and others send them, and the chats that they are."""

import json
from typing import Any

import pytest

from frontend.api.anthropic.conversion import chat_of, generating_chat_of
from frontend.api.anthropic.schemas import REFUSED_FIELDS, CountTokensRequest, MessagesRequest
from frontend.api.fields.parsing import BodyParser
from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.api.fields.tools import told_tools
from frontend.http.ignored import REFUSING, Ignored
from protocol.errors import InvalidRequest, UnsupportedParameter

PARSER = BodyParser(MessagesRequest, REFUSED_FIELDS)
COUNT = BodyParser(CountTokensRequest, REFUSED_FIELDS)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TRIP = {"name": "trip", "input_schema": SCHEMA}
BILLING = {
    "type": "text",
    "text": "x-anthropic-billing-header: cc_version=2.1.332.344; cc_entrypoint=cli; cch=1a2b3;",
}


def raw(*messages: Any, **fields: Any) -> bytes:
    return json.dumps(
        {
            "model": "m",
            "max_tokens": 4,
            "messages": list(messages) or [{"role": "user", "content": "hi"}],
        }
        | fields
    ).encode()


def chat(*messages: Any, ignored: Ignored | None = None, **fields: Any) -> ChatCompletionRequest:
    ignored = ignored or Ignored("ignore")
    return generating_chat_of(PARSER.parse(raw(*messages, **fields), ignored=ignored), ignored)


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


@pytest.mark.parametrize(
    "fields",
    [
        {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
        {"context_management": {}},
        {"betas": ["context-management-2025-06-27"]},
        {"speed": "standard"},
        {"tool_choice": {"type": "auto"}},
        {"tool_choice": {"type": "none"}},
        {
            "tools": [
                TRIP
                | {
                    "defer_loading": False,
                    "allowed_callers": ["direct"],
                    "eager_input_streaming": True,
                }
            ]
        },
        {"mcp_servers": [], "container": None},
    ],
)
def test_what_asks_for_nothing_is_taken_even_where_unknown_fields_are_refused(
    fields: dict[str, Any],
) -> None:
    with_fields = generating_chat_of(PARSER.parse(raw(**fields)), REFUSING)
    assert with_fields.messages == chat().messages
    assert with_fields.tool_choice in (None, "none")


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (
            {"output_config": {"task_budget": {"type": "tokens", "total": 1000}, "effort": "high"}},
            "output_config.task_budget",
        ),
        (
            {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
            "context_management.edits",
        ),
        ({"speed": "fast"}, "speed"),
        ({"made_up": 1}, "made_up"),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}]},
            "tools.web_search_20250305",
        ),
        (
            {"tools": [TRIP | {"allowed_callers": ["code_execution_20250825"]}]},
            "tools.allowed_callers",
        ),
    ],
)
def test_what_has_no_effect_is_named_and_refused_where_the_operator_says_so(
    fields: dict[str, Any], name: str
) -> None:
    ignored = Ignored("ignore")
    assert chat(ignored=ignored, **fields).tools is None
    assert name in ignored.names
    with pytest.raises(UnsupportedParameter):
        generating_chat_of(PARSER.parse(raw(**fields)), REFUSING)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]}, "mcp_servers"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        (
            {
                "tools": [{"type": "web_search_20250305", "name": "web_search"}],
                "tool_choice": {"type": "tool", "name": "web_search"},
            },
            "tool_choice",
        ),
        (
            {
                "tools": [{"type": "web_search_20250305", "name": "web_search"}],
                "tool_choice": {"type": "any"},
            },
            "tool_choice",
        ),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TRIP], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice.name"),
        ({"messages": [user()]}, "messages[0].content"),
        (
            {"messages": [user({"type": "tool_reference", "tool_name": "x"})]},
            "messages[0].content[0].tool_name",
        ),
        ({"messages": [user({"type": "image", "source": {}})]}, "messages[0].content[0].source"),
        (
            {"messages": [user({"type": "document", "source": {"type": "url", "url": "x"}})]},
            "messages[0].content[0].source.type",
        ),
        (
            {"messages": [user({"type": "document", "source": {"type": "text"}})]},
            "messages[0].content[0].source",
        ),
        (
            {"messages": [user({"type": "redacted_thinking", "data": "x"})]},
            "messages[0].content[0].type",
        ),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        chat(**fields)
    assert raised.value.param == param


def test_the_line_for_anthropics_accounts_is_not_told() -> None:
    told = chat(system=[BILLING, text("Be kind."), text("Be brief.")]).messages[0]
    assert told == {"role": "system", "content": "Be kind.\nBe brief."}
    assert chat(system=BILLING["text"] + "\nBe kind.").messages[0]["content"] == "Be kind."
    assert chat(system=[BILLING]).messages[0]["role"] == "user"


def test_a_deferred_tool_is_told_where_a_reference_names_it() -> None:
    search, deferred = {"name": "ToolSearch", "input_schema": {}}, TRIP | {"defer_loading": True}
    assert [tool["function"]["name"] for tool in chat(tools=[search, deferred]).tools or ()] == [
        "ToolSearch"
    ]
    call = {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "toolu_call_1", "name": "ToolSearch", "input": {}}],
    }
    found = user(
        {
            "type": "tool_result",
            "tool_use_id": "toolu_call_1",
            "content": [{"type": "tool_reference", "tool_name": "trip"}],
        }
    )
    request = chat({"role": "user", "content": "hi"}, call, found, tools=[search, deferred])
    assert [tool["function"]["name"] for tool in request.tools or ()] == ["ToolSearch", "trip"]
    assert [tool["function"]["name"] for tool in told_tools(request) or ()] == ["ToolSearch"]
    assert (
        request.messages[1]["tool_calls"][0]["id"]
        == request.messages[2]["tool_call_id"]
        == "call_1"
    )
    assert (
        json.loads(request.messages[2]["content"].split("<function>")[1].split("</function>")[0])[
            "parameters"
        ]
        == SCHEMA
    )


def test_where_anthropic_would_search_all_tools_are_told() -> None:
    ignored = Ignored("ignore")
    request = chat(
        tools=[
            {"type": "tool_search_tool_bm25_20251119", "name": "s"},
            TRIP | {"defer_loading": True},
        ],
        ignored=ignored,
    )
    assert [tool["function"]["name"] for tool in told_tools(request) or ()] == ["trip"]
    assert ignored.names == ("tools.tool_search_tool_bm25_20251119",)


def test_examples_of_inputs_stand_in_the_schema() -> None:
    (tool,) = chat(tools=[TRIP | {"input_examples": [{"city": "Rome"}]}]).tools or ()
    assert tool["function"]["parameters"] == SCHEMA | {"examples": [{"city": "Rome"}]}


def test_blocks_that_are_text_are_told() -> None:
    found = {
        "type": "search_result",
        "source": "https://x",
        "title": "T",
        "content": [text("a"), text("b")],
        "citations": {"enabled": True},
    }
    plain = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "body"},
        "title": "Doc",
    }
    parts = {
        "type": "document",
        "source": {"type": "content", "content": [text("one"), text("two")]},
        "context": "C",
    }
    result = {"type": "tool_result", "tool_use_id": "1", "content": [found, text("c")]}
    first, second = chat(user(plain, parts), user(result)).messages
    assert [part["text"] for part in first["content"]] == ["Doc\nbody", "C\none\ntwo"]
    assert second["content"] == "T\nhttps://x\na\nb\nc"


def test_thinking_that_nobody_can_read_is_left_out_and_named() -> None:
    ignored = Ignored("ignore")
    said = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, text("a")]}
    assert chat({"role": "user", "content": "hi"}, said, user(text("b")), ignored=ignored).messages[
        1
    ] == {
        "role": "assistant",
        "content": "a",
    }
    assert ignored.names == ("messages.content.redacted_thinking",)


def test_the_older_name_of_a_format() -> None:
    shape = {"type": "json_schema", "schema": SCHEMA}
    assert (
        chat(output_format=shape).response_format
        == chat(output_config={"format": shape}).response_format
        != chat().response_format
    )


def test_tokens_are_counted_with_the_fields_of_a_message() -> None:
    body = raw(
        stream=True,
        temperature=0.5,
        metadata={"user_id": "u"},
        stop_sequences=["x"],
        tools=[TRIP],
        thinking={"type": "adaptive"},
    )
    assert chat_of(COUNT.parse(body), REFUSING) == chat_of(PARSER.parse(body), REFUSING)
