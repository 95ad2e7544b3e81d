"""/v1/responses as the unmodified OpenAI client sees it."""

from typing import Any

import openai
import pytest
from openai.types.responses import Response

from tests.kit.fleet import Fleet

ASK = "Tell me of the mesh."


def valid(response: Response) -> Response:
    """The client reads without checking; here every field must be of its type."""
    return Response.model_validate(response.model_dump(warnings=False), strict=False)


def test_a_response_as_a_whole(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="demo",
        input=ASK,
        instructions="Be brief.",
        max_output_tokens=8,
        temperature=0,
        store=True,
    )
    valid(response)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output_text
    assert response.usage is not None
    assert response.usage.output_tokens == 8
    assert response.usage.total_tokens == response.usage.input_tokens + 8
    assert response.instructions == "Be brief."
    assert response.model_dump()["store"] is False


def test_input_is_the_chat_that_it_says(client: openai.OpenAI) -> None:
    items: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Ask the tool."}],
        },
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "weather",
            "arguments": '{"city": "Bern"}',
            "id": "fc_1",
            "status": "completed",
        },
        {"type": "function_call_output", "call_id": "c1", "output": "Sunny."},
    ]
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "reasoning_content": "Ask the tool.",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Bern"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Sunny."},
    ]
    response = client.responses.create(
        model="demo", input=items, instructions="Be brief.", max_output_tokens=6, temperature=0
    )
    chat = client.chat.completions.create(
        model="demo", messages=messages, max_tokens=6, temperature=0
    )
    assert response.usage is not None
    assert chat.usage is not None
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    assert response.output_text == chat.choices[0].message.content


def test_a_stream_gives_the_same_response_event_by_event(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="demo", input=ASK, max_output_tokens=12, temperature=0)
    with client.responses.create(
        model="demo", input=ASK, max_output_tokens=12, temperature=0, stream=True
    ) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    for event in events:
        type(event).model_validate(event.model_dump(warnings=False))
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == whole.output_text
    assert (
        "".join(event.delta for event in events if event.type == "response.output_text.delta")
        == whole.output_text
    )
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == 12


def test_the_clients_own_accumulator_takes_the_stream(client: openai.OpenAI) -> None:
    stop = client.responses.create(
        model="demo", input=ASK, max_output_tokens=16, temperature=0
    ).output_text.split()[3]
    with client.responses.stream(
        model="demo", input=ASK, temperature=0, extra_body={"stop": stop}
    ) as stream:
        text = "".join(
            event.delta for event in stream if event.type == "response.output_text.delta"
        )
        final = stream.get_final_response()
    assert final.status == "completed"
    assert final.output_text == text


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools[0].type"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "function"}]}, "tools[0]"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice.name"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        (
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}
                ]
            },
            "input[0].content[0].image_url",
        ),
        ({"input": [{"role": "user"}]}, "input[0]"),
        ({"max_output_tokens": 100_000}, "input"),
    ],
)
def test_what_cannot_be_honoured_is_a_400_that_names_it(
    client: openai.OpenAI, change: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(**({"model": "demo", "input": ASK} | change))
    assert raised.value.param == param


def test_nothing_is_stored(client: openai.OpenAI, shared: Fleet) -> None:
    response = client.responses.create(model="demo", input=ASK, max_output_tokens=2)
    for ask in (
        client.responses.retrieve,
        client.responses.delete,
        client.responses.cancel,
        client.responses.input_items.list,
    ):
        with pytest.raises(openai.NotFoundError) as raised:
            ask(response.id)
        assert response.id in raised.value.message


def test_a_deadline_has_its_status(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as late:
        client.responses.create(
            model="demo",
            input=ASK,
            extra_headers={"x-request-timeout-ms": "1"},
            max_output_tokens=4000,
        )
    assert late.value.status_code == 504


def test_codexs_request_is_taken_and_what_has_no_effect_is_named(client: openai.OpenAI) -> None:
    """As its first one is, but for the length of its texts, with the fields that it sends to other
    models too.
    """
    run: Any = {
        "type": "function",
        "name": "run",
        "description": "d",
        "strict": False,
        "parameters": {"type": "object", "properties": {}},
    }
    grammar = {"type": "grammar", "syntax": "lark", "definition": 'start: "a"'}
    tools: Any = [
        run,
        {"type": "namespace", "name": "agents", "description": "d", "tools": [run]},
        {"type": "custom", "name": "apply_patch", "description": "d", "format": grammar},
        {"type": "web_search", "external_web_access": False},
    ]
    items: Any = [
        {
            "type": "message",
            "role": "developer",
            "content": [{"type": "input_text", "text": "You are a coding agent."}],
        },
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Patch it."}],
        },
        {
            "type": "custom_tool_call",
            "status": "completed",
            "call_id": "c1",
            "name": "apply_patch",
            "input": "*** Begin Patch",
        },
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done."},
    ]
    raw = client.responses.with_raw_response.create(
        model="demo",
        input=items,
        tools=tools,
        tool_choice="auto",
        reasoning={"effort": "low", "summary": "detailed"},
        text={"verbosity": "low"},
        include=["reasoning.encrypted_content"],
        max_output_tokens=4,
        extra_body={"client_metadata": {"session_id": "s"}},
    )
    assert raw.headers["x-kvmesh-ignored"] == "tools.format, tools.web_search, text.verbosity"
    assert [tool["type"] for tool in raw.http_response.json()["tools"]] == [
        "function",
        "namespace",
        "custom",
        "web_search",
    ]
