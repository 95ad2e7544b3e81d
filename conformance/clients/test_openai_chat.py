"""`openai`'s chat completions, whole and streamed, with every option that changes the answer's
shape.
"""

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from conformance.clients.exact import each_exact, exact
from conformance.clients.trips import (
    BOOK_TRIP,
    NO_LOOPS,
    ONE_CALL,
    QUESTION,
    TOOLS,
    TRIP_QUESTION,
    TRIP_SCHEMA,
    Trip,
)

NO_THINKING: Any = {"chat_template_kwargs": {"enable_thinking": False}}
JSON_SCHEMA: Any = {
    "type": "json_schema",
    "json_schema": {"name": "trip", "strict": True, "schema": TRIP_SCHEMA},
}
NAMED: Any = {"type": "function", "function": {"name": "book_trip"}}


def arguments_of(chunks: list[ChatCompletionChunk]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each call of a stream; the first piece of a call has its id and
    name.
    """
    calls: list[list[str]] = []
    for chunk in chunks:
        for piece in (chunk.choices and chunk.choices[0].delta.tool_calls) or []:
            assert piece.function is not None
            if piece.index == len(calls):
                assert piece.id
                assert piece.function.name
                calls.append([piece.id, piece.function.name, ""])
            assert piece.index == len(calls) - 1
            calls[-1][2] += piece.function.arguments or ""
    return [(call[0], call[1], call[2]) for call in calls]


def test_a_chat_whole(client: openai.OpenAI, model: str) -> None:
    answer = exact(
        client.chat.completions.create(model=model, messages=QUESTION, max_tokens=24, temperature=0)
    )
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_chat_streamed_says_the_same(client: openai.OpenAI, model: str) -> None:
    options: Any = {"model": model, "messages": QUESTION, "max_tokens": 24, "temperature": 0}
    whole = exact(client.chat.completions.create(**options)).choices[0].message
    chunks = each_exact(
        client.chat.completions.create(
            **options, stream=True, stream_options={"include_usage": True}
        )
    )
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        == whole.content
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices(client: openai.OpenAI, model: str, stream: bool) -> None:
    options: Any = {"model": model, "messages": QUESTION, "max_tokens": 6, "n": 3, "seed": 5}
    if stream:
        chunks = each_exact(client.chat.completions.create(**options, stream=True))
        ends = [
            choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason
        ]
    else:
        ends = [choice.index for choice in exact(client.chat.completions.create(**options)).choices]
    assert sorted(ends) == [0, 1, 2]


@pytest.mark.parametrize(
    "choice", ["auto", "none", "required", NAMED], ids=["auto", "none", "required", "named"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_tool_choice(client: openai.OpenAI, model: str, choice: Any, stream: bool) -> None:
    options: Any = {
        "model": model,
        "messages": TRIP_QUESTION,
        "tools": TOOLS,
        "tool_choice": choice,
        "max_tokens": 200,
        **ONE_CALL,
    }
    if stream:
        chunks = each_exact(client.chat.completions.create(**options, stream=True))
        calls = arguments_of(chunks)
        reason = [
            each.finish_reason for chunk in chunks for each in chunk.choices if each.finish_reason
        ]
    else:
        answer = exact(client.chat.completions.create(**options)).choices[0]
        calls = [
            (call.id, call.function.name, call.function.arguments)
            for call in answer.message.tool_calls or []
        ]  # type: ignore[union-attr]
        reason = [answer.finish_reason]
    assert len({call[0] for call in calls}) == len(calls)
    if choice == "none":
        assert not calls
        return
    if choice != "auto":
        assert (
            reason == ["tool_calls"]
            if choice == "required"
            else reason[0] in ("tool_calls", "stop")
        )
        assert calls
        assert {call[1] for call in calls} <= (
            {"book_trip"} if choice is NAMED else {"book_trip", "tell_time"}
        )
    for _, name, arguments in calls:
        parsed = json.loads(arguments)
        assert name != "book_trip" or choice == "auto" or Trip.model_validate(parsed)


def test_one_call_at_most_where_calls_are_not_parallel(client: openai.OpenAI, model: str) -> None:
    answer = exact(
        client.chat.completions.create(
            model=model,
            messages=TRIP_QUESTION,
            tools=TOOLS,
            tool_choice="required",
            parallel_tool_calls=False,
            max_tokens=200,
            **NO_LOOPS,
        )
    )
    assert len(answer.choices[0].message.tool_calls or []) == 1


def test_a_tools_result_goes_back(client: openai.OpenAI, model: str) -> None:
    first = client.chat.completions.create(
        model=model,
        messages=TRIP_QUESTION,
        tools=TOOLS,
        tool_choice=NAMED,
        max_tokens=200,
        **ONE_CALL,
    )
    call = (first.choices[0].message.tool_calls or [])[0]
    messages = [
        *TRIP_QUESTION,
        first.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": '{"booked": true}'},
    ]
    answer = exact(
        client.chat.completions.create(model=model, messages=messages, tools=TOOLS, max_tokens=16)
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > (first.usage.prompt_tokens if first.usage else 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_json_schema_holds(client: openai.OpenAI, model: str, stream: bool) -> None:
    options: Any = {
        "model": model,
        "messages": TRIP_QUESTION,
        "response_format": JSON_SCHEMA,
        "max_tokens": 200,
        **NO_LOOPS,
        "extra_body": NO_THINKING,
    }
    if stream:
        chunks = each_exact(client.chat.completions.create(**options, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        text = exact(client.chat.completions.create(**options)).choices[0].message.content or ""
    Trip.model_validate_json(text)


def test_a_json_object_is_one(client: openai.OpenAI, model: str) -> None:
    answer = exact(
        client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Answer in JSON: where is Rome?"}],
            response_format={"type": "json_object"},
            max_tokens=300,
            **NO_LOOPS,
            extra_body=NO_THINKING,
        )
    ).choices[0]
    assert (answer.message.content or "").lstrip().startswith("{")
    assert answer.finish_reason == "length" or isinstance(
        json.loads(answer.message.content or ""), dict
    )


def test_parse_gives_the_pydantic_model(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.parse(
        model=model,
        messages=TRIP_QUESTION,
        response_format=Trip,
        max_tokens=200,
        extra_body=NO_THINKING,
        **NO_LOOPS,
    )
    assert isinstance(answer.choices[0].message.parsed, Trip)


def test_parse_gives_tools_arguments(client: openai.OpenAI, model: str) -> None:
    class BookTrip(BaseModel):
        trip: Trip

    tool = openai.pydantic_function_tool(BookTrip)
    answer = client.chat.completions.parse(
        model=model,
        messages=TRIP_QUESTION,
        tools=[tool],
        tool_choice="required",
        max_tokens=200,
        **ONE_CALL,
    )
    calls = answer.choices[0].message.tool_calls or []
    assert isinstance(calls[0].function.parsed_arguments, BookTrip)


def test_the_stream_helper_accumulates(client: openai.OpenAI, model: str) -> None:
    with client.chat.completions.stream(
        model=model,
        messages=TRIP_QUESTION,
        response_format=Trip,
        max_tokens=200,
        extra_body=NO_THINKING,
        **NO_LOOPS,
    ) as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert isinstance(answer.choices[0].message.parsed, Trip)


def test_the_stream_helper_accumulates_calls(client: openai.OpenAI, model: str) -> None:
    with client.chat.completions.stream(
        model=model, messages=TRIP_QUESTION, tools=[{**BOOK_TRIP,
        "function": {**BOOK_TRIP["function"], "strict": True}}],
        tool_choice="required", max_tokens=200, **ONE_CALL,
    ) as stream:  # fmt: skip
        kinds = {event.type for event in stream}
        answer = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    assert answer.choices[0].finish_reason == "tool_calls"
    for call in answer.choices[0].message.tool_calls or []:
        Trip.model_validate_json(call.function.arguments)


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_spell_the_content(
    client: openai.OpenAI, model: str, stream: bool
) -> None:
    options: Any = {
        "model": model,
        "messages": QUESTION,
        "max_tokens": 12,
        "logprobs": True,
        "top_logprobs": 3,
        "extra_body": NO_THINKING,
    }
    if stream:
        chunks = each_exact(client.chat.completions.create(**options, stream=True))
        content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        tokens = [
            each
            for chunk in chunks
            if chunk.choices[0].logprobs
            for each in chunk.choices[0].logprobs.content or []
        ]
    else:
        choice = exact(client.chat.completions.create(**options)).choices[0]
        assert choice.logprobs is not None
        content, tokens = choice.message.content or "", choice.logprobs.content or []
    spelt = b"".join(bytes(token.bytes or []) for token in tokens)
    assert spelt.startswith(content.encode())
    assert content
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in tokens)


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_not_content(client: openai.OpenAI, model: str, stream: bool) -> None:
    options: Any = {
        "model": model,
        "messages": QUESTION,
        "max_tokens": 64,
        "extra_body": {"chat_template_kwargs": {"enable_thinking": True}},
    }
    if stream:
        chunks = each_exact(client.chat.completions.create(**options, stream=True))
        content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    else:
        content = exact(client.chat.completions.create(**options)).choices[0].message.content or ""
    assert "think>" not in content


def test_reasoning_effort_is_taken(client: openai.OpenAI, model: str) -> None:
    exact(
        client.chat.completions.create(
            model=model, messages=QUESTION, max_tokens=8, reasoning_effort="low"
        )
    )


def test_what_openai_only_notes_is_taken(client: openai.OpenAI, model: str) -> None:
    exact(
        client.chat.completions.create(
            model=model,
            messages=QUESTION,
            max_tokens=4,
            user="ada",
            metadata={"team": "a"},
            store=False,
        )
    )


BAD: list[tuple[dict[str, Any], str]] = [
    ({"temperature": 3}, "temperature"),
    (
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nowhere"}}},
        "tool_choice",
    ),
    (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "nonsense"}},
            }
        },
        "response_format",
    ),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"n": 0}, "n"),
]


@pytest.mark.parametrize(("options", "param"), BAD, ids=[param for _, param in BAD])
@pytest.mark.parametrize("stream", [False, True])
def test_mistakes_are_said_in_openais_form(
    client: openai.OpenAI, model: str, options: Any, param: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(
            model=model, messages=QUESTION, max_tokens=4, stream=stream, **options
        )
    assert raised.value.type == "invalid_request_error"
    assert (raised.value.param or "").startswith(param)


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="nobody", messages=QUESTION)
    assert raised.value.code == "model_not_found"


def test_models_are_listed(
    client: openai.OpenAI, model: str, embedding_model: str, image_model: str, video_model: str
) -> None:
    models = {model, embedding_model, image_model, video_model}
    assert {exact(each).id for each in client.models.list()} == models
    assert exact(client.models.retrieve(model)).id == model


def test_a_raw_answer_is_a_chat_completion(client: openai.OpenAI, model: str) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=QUESTION, max_tokens=4
    )
    assert raw.headers["content-type"].startswith("application/json")
    assert isinstance(raw.parse(), ChatCompletion)
