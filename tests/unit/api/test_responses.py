"""Input items, and the events of a response that thinks, speaks and calls."""

from typing import Any

import msgspec
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from frontend.api.responses.answers import Items, head_of
from frontend.api.responses.events import ResponseStream
from frontend.api.responses.items import messages_of
from frontend.api.responses.schemas import ResponsesRequest
from frontend.api.responses.tools import OfferedTools
from frontend.http.ignored import Ignored
from protocol.errors import WorkerLost
from tests.unit.api.test_blocks import ARGUMENTS, answer_in_pieces, events_of

EVENT: Any = TypeAdapter(ResponseStreamEvent)


def stream(*tools: dict[str, Any]) -> ResponseStream:
    return ResponseStream(
        head_of(ResponsesRequest(model="m", input="x"), "f" * 32, 1),
        Items("f" * 32, OfferedTools(tools, Ignored("ignore"))),
    )


def test_each_kind_of_item_has_its_events_and_the_client_knows_all_of_them() -> None:
    writer = stream()
    sent = writer.begin() + b"".join(
        writer.gained(gain, []) for gain in answer_in_pieces("Hm.", "Well.", 2, [3])
    )
    sent += writer.events(WorkerLost("The worker died."))
    events = events_of(sent)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        EVENT.validate_python(event)
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [item["type"] for item in done] == ["reasoning", "message", "function_call"]
    assert done[0]["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert done[1]["content"][0]["text"] == "Well."
    assert (done[2]["call_id"], done[2]["name"], done[2]["arguments"]) == (
        "call_0",
        "weather",
        ARGUMENTS,
    )
    last = events[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["error"]["message"] == "The worker died."
    assert last["response"]["output"] == done


def test_log_probabilities_wait_for_their_text() -> None:
    writer = stream()
    gains = answer_in_pieces("", "ab", 0, [1])
    first = {"token": "x"}
    sent = writer.gained(type(gains[0])(), [first]) + writer.gained(gains[0], [])
    (delta,) = [event for event in events_of(sent) if event["type"] == "response.output_text.delta"]
    assert delta["logprobs"] == [first]


def test_what_the_model_said_in_one_turn_is_one_message() -> None:
    call = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
    said = [
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Wait.", "annotations": []}],
        },
        call,
        call | {"call_id": "2"},
    ]
    answers = [
        {
            "type": "function_call_output",
            "call_id": id_,
            "output": [{"type": "input_text", "text": "ok"}],
        }
        for id_ in "12"
    ]
    messages = messages_of(
        None, [{"role": "user", "content": "Go."}, *said, *answers, *said[1:2], *said[:2]]
    )
    assert [message["role"] for message in messages] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "assistant",
    ]
    turn = messages[1]
    assert (turn["reasoning_content"], turn["content"], len(turn["tool_calls"])) == (
        "Hm.",
        "Wait.",
        2,
    )
    assert messages[4] == {"role": "assistant", "content": "Wait."}
    assert messages[5]["reasoning_content"] == "Hm."


def test_instructions_and_the_system_message_behind_them_are_one() -> None:
    items = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Late."},
    ]
    messages = messages_of("Be brief.", items)
    assert messages[0] == {"role": "system", "content": "Be brief.\n\nBe kind."}
    assert [message["role"] for message in messages] == ["system", "user", "system"]
    assert messages_of(None, items)[0]["role"] == "developer"


def test_the_head_tells_the_request_back() -> None:
    request = msgspec.json.decode(
        b'{"model":"m","input":"x","text":{"format":{"type":"json_schema","name":"a","schema":{"type":"object"}}},"tools":[{"type":"function","name":"f"}]}',
        type=ResponsesRequest,
    )
    head = msgspec.json.decode(msgspec.json.encode(head_of(request, "f" * 32, 1)))
    assert head["text"]["format"] == {
        "type": "json_schema",
        "name": "a",
        "schema": {"type": "object"},
        "description": None,
        "strict": None,
    }
    assert head["tools"] == [{"type": "function", "name": "f", "parameters": None, "strict": None}]
