"""`openai`'s responses, which kvmesh serves without keeping any."""

import json
from typing import Any

import openai
import pytest

from conformance.clients.exact import exact
from conformance.clients.trips import BOOK_TRIP, TRIP_SCHEMA, Trip

TOOL: Any = {"type": "function", "strict": True, **BOOK_TRIP["function"]}
NO_LOOPS: Any = {
    "temperature": 0,
    "parallel_tool_calls": False,
    "extra_body": {"frequency_penalty": 1},
}
"""See `trips.NO_LOOPS`; OpenAI's responses know no penalties."""

QUESTION = "Book a trip to Rome by train for three days."
FORMAT: Any = {
    "format": {"type": "json_schema", "name": "trip", "strict": True, "schema": TRIP_SCHEMA}
}


def test_a_response_whole(client: openai.OpenAI, model: str) -> None:
    answer = exact(
        client.responses.create(
            model=model, input="What is kvmesh?", max_output_tokens=48, temperature=0, store=False
        )
    )
    assert answer.object == "response"
    assert answer.status in ("completed", "incomplete")
    assert answer.output
    assert answer.usage is not None
    assert answer.usage.output_tokens <= 48


def test_a_conversation_with_instructions(client: openai.OpenAI, model: str) -> None:
    conversation: Any = [
        {"role": "user", "content": "What is kvmesh?"},
        {"role": "assistant", "content": "A server."},
        {"role": "user", "content": [{"type": "input_text", "text": "Of what?"}]},
    ]
    exact(
        client.responses.create(
            model=model,
            instructions="Be brief.",
            input=conversation,
            max_output_tokens=16,
            store=False,
        )
    )


def test_a_response_streamed(client: openai.OpenAI, model: str) -> None:
    events = [
        exact(event)
        for event in client.responses.create(
            model=model, input="What is kvmesh?", max_output_tokens=48, stream=True, store=False
        )
    ]
    assert events[0].type == "response.created"
    assert events[-1].type in ("response.completed", "response.incomplete")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text


def test_a_function_is_called(client: openai.OpenAI, model: str) -> None:
    answer = exact(
        client.responses.create(
            model=model,
            input=QUESTION,
            tools=[TOOL],
            tool_choice="required",
            max_output_tokens=200,
            store=False,
            **NO_LOOPS,
        )
    )
    calls = [item for item in answer.output if item.type == "function_call"]
    assert [call.name for call in calls][:1] == ["book_trip"]
    Trip.model_validate(json.loads(calls[0].arguments))
    conversation: Any = [
        {"role": "user", "content": QUESTION},
        {
            "type": "function_call",
            "call_id": calls[0].call_id,
            "name": "book_trip",
            "arguments": calls[0].arguments,
        },
        {"type": "function_call_output", "call_id": calls[0].call_id, "output": "booked"},
    ]
    exact(
        client.responses.create(
            model=model, input=conversation, tools=[TOOL], max_output_tokens=16, store=False
        )
    )


def test_a_function_is_called_in_a_stream(client: openai.OpenAI, model: str) -> None:
    with client.responses.stream(
        model=model,
        input=QUESTION,
        tools=[TOOL],
        tool_choice="required",
        max_output_tokens=200,
        **NO_LOOPS,
    ) as stream:
        kinds = [
            exact(event).type
            if event.type == "response.function_call_arguments.delta"
            else event.type
            for event in stream
        ]
        answer = stream.get_final_response()
    assert "response.function_call_arguments.done" in kinds
    assert any(item.type == "function_call" for item in answer.output)


def test_a_json_schema_holds(client: openai.OpenAI, model: str) -> None:
    answer = exact(
        client.responses.create(
            model=model, input=QUESTION, text=FORMAT, max_output_tokens=400, store=False, **NO_LOOPS
        )
    )
    if answer.status == "completed":
        Trip.model_validate_json(answer.output_text)


def test_parse_gives_the_pydantic_model(client: openai.OpenAI, model: str) -> None:
    answer = client.responses.parse(
        model=model,
        input=QUESTION,
        text_format=Trip,
        max_output_tokens=400,
        reasoning={"effort": "none"},
        **NO_LOOPS,
    )
    assert isinstance(answer.output_parsed, Trip)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"temperature": 9}, "temperature"),
]


@pytest.mark.parametrize(("options", "param"), BAD, ids=[param for _, param in BAD])
def test_mistakes_are_said(client: openai.OpenAI, model: str, options: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.create(model=model, input="x", **options)
    assert raised.value.param == param
