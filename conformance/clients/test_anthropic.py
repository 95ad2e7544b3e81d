"""Anthropic's client."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from conformance.clients.exact import exact
from conformance.clients.trips import TRIP_SCHEMA, Trip

NO_LOOPS = {"temperature": 0, "frequency_penalty": 1}
"""See `trips.NO_LOOPS`; Anthropic's messages know no penalties."""
ALONE = {"disable_parallel_tool_use": True}

QUESTION: Any = [{"role": "user", "content": "What is kvmesh?"}]
TRIP: Any = [{"role": "user", "content": "Book a trip to Rome by train for three days."}]
TOOL: Any = {"name": "book_trip", "description": "Book a trip.", "input_schema": TRIP_SCHEMA}


@pytest.fixture(scope="module")
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_a_message_whole(claude: anthropic.Anthropic, model: str) -> None:
    message = exact(
        claude.messages.create(model=model, messages=QUESTION, max_tokens=16, system="Be brief.")
    )
    assert message.type == "message"
    assert message.role == "assistant"
    assert message.content
    assert message.stop_reason in ("max_tokens", "end_turn")
    assert message.usage.output_tokens <= 16


def test_a_message_streamed(claude: anthropic.Anthropic, model: str) -> None:
    events = [
        exact(event)
        for event in claude.messages.create(
            model=model, messages=QUESTION, max_tokens=16, stream=True
        )
    ]
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") > 0


def test_the_stream_helper_accumulates(claude: anthropic.Anthropic, model: str) -> None:
    with claude.messages.stream(model=model, messages=QUESTION, max_tokens=16) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == "".join(block.text for block in message.content if block.type == "text")


@pytest.mark.parametrize(
    "choice",
    [{"type": "any", **ALONE}, {"type": "tool", "name": "book_trip", **ALONE}],
    ids=["any", "tool"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_used(claude: anthropic.Anthropic, model: str, choice: Any, stream: bool) -> None:
    options: Any = {
        "model": model,
        "messages": TRIP,
        "tools": [TOOL],
        "tool_choice": choice,
        "max_tokens": 200,
        "extra_body": NO_LOOPS,
    }
    if stream:
        with claude.messages.stream(**options) as running:
            message = running.get_final_message()
    else:
        message = exact(claude.messages.create(**options))
    uses = [block for block in message.content if block.type == "tool_use"]
    assert [use.name for use in uses][:1] == ["book_trip"]
    Trip.model_validate(uses[0].input)
    assert message.stop_reason == "tool_use"
    result: Any = [
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": uses[0].id, "content": "booked"}],
        }
    ]
    blocks: Any = [
        {
            "role": "assistant",
            "content": [
                block.model_dump(include={"type", "id", "name", "input"}) for block in uses[:1]
            ],
        }
    ]
    exact(
        claude.messages.create(
            model=model, messages=TRIP + blocks + result, tools=[TOOL], max_tokens=8
        )
    )


def test_tokens_are_counted_as_they_are_used(claude: anthropic.Anthropic, model: str) -> None:
    counted = exact(
        claude.messages.count_tokens(model=model, messages=QUESTION, system="Be brief.")
    )
    message = claude.messages.create(
        model=model, messages=QUESTION, system="Be brief.", max_tokens=1
    )
    usage = message.usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0) + (
        usage.cache_creation_input_tokens or 0
    )


def test_a_stop_sequence_is_named(claude: anthropic.Anthropic, model: str) -> None:
    message = exact(
        claude.messages.create(model=model, messages=QUESTION, max_tokens=64, stop_sequences=["e"])
    )
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "e")


BAD: list[dict[str, Any]] = [
    {"extra_body": {"temperature": 9}},
    {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "nowhere"}},
    {"max_tokens": 0},
]


@pytest.mark.parametrize("options", BAD, ids=["temperature", "tool_choice", "max_tokens"])
def test_mistakes_are_said_in_anthropics_form(
    claude: anthropic.Anthropic, model: str, options: Any
) -> None:
    with pytest.raises(anthropic.BadRequestError) as raised:
        claude.messages.create(
            **({"model": model, "messages": QUESTION, "max_tokens": 4} | options)
        )
    body: Any = raised.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"


def test_an_unknown_model_is_not_found(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nobody", messages=QUESTION, max_tokens=4)
