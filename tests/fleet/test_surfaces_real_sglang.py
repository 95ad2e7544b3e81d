"""Responses, messages and /generate on real SGLang, with its parsers: thinking, tool calls, JSON
and log probabilities.
"""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from tests.fleet.real_fleets import RealFleets
from tests.kit.fleet import Fleet

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]

MODEL = "kvmesh-demo"
WEATHER = "What is the weather in Paris?"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Current weather of a city",
    "parameters": SCHEMA,
}
TOOL: Any = {
    "name": "get_weather",
    "description": "Current weather of a city",
    "input_schema": SCHEMA,
}
JSON = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
GREEDY = {"temperature": 0}
BRIEF = GREEDY | {"frequency_penalty": 1}
"""A model this small fills the JSON that it is held to with white space, unless repeating itself
costs something.
"""
THINKING = {"chat_template_kwargs": {"enable_thinking": True}}
EVENT: Any = TypeAdapter(ResponseStreamEvent)


@pytest.fixture(scope="module")
def real(real_fleets: RealFleets) -> Fleet:
    """A frontend and one worker with real SGLang serving the demo model, as `make up` starts
    them.
    """
    return real_fleets.of(())


@pytest.fixture(scope="module")
def client(real: Fleet) -> Iterator[openai.OpenAI]:
    with real.client() as client:
        yield client


@pytest.fixture(scope="module")
def claude(real: Fleet) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=real.url, api_key="none", max_retries=0, timeout=120
    ) as client:
        yield client


@pytest.mark.parametrize(
    "choice", ["auto", "required", {"type": "function", "name": "get_weather"}]
)
def test_a_response_calls_a_function_and_goes_on_from_its_output(
    client: openai.OpenAI, choice: Any
) -> None:
    style = GREEDY if choice == "auto" else BRIEF
    asked: Any = {
        "model": MODEL,
        "tools": [FUNCTION],
        "max_output_tokens": 200,
        "extra_body": style,
    }
    response = client.responses.create(input=WEATHER, tool_choice=choice, **asked)
    call = response.output[-1]
    assert call.type == "function_call"
    assert call.name == "get_weather"
    assert set(json.loads(call.arguments)) == {"city"}
    assert response.status == "completed"
    with client.responses.create(input=WEATHER, tool_choice=choice, stream=True, **asked) as stream:
        events = list(stream)
    for event in events:
        EVENT.validate_python(event.model_dump(warnings=False))
    assert (
        "".join(
            event.delta
            for event in events
            if event.type == "response.function_call_arguments.delta"
        )
        == call.arguments
    )
    told = [item.to_dict() for item in response.output]
    output = {
        "type": "function_call_output",
        "call_id": call.call_id,
        "output": '{"condition": "sunny", "temperature_c": 20}',
    }
    answer = client.responses.create(
        input=[{"role": "user", "content": WEATHER}, *told, output], **asked
    )
    assert answer.output_text


def test_a_response_thinks_apart_from_its_answer(client: openai.OpenAI) -> None:
    asked: Any = {
        "model": MODEL,
        "input": "What is kvmesh?",
        "max_output_tokens": 200,
        "temperature": 0,
        "extra_body": THINKING,
    }
    response = client.responses.create(**asked)
    assert [item.type for item in response.output] == ["reasoning", "message"]
    thoughts = response.output[0].model_dump()["content"][0]["text"]
    assert thoughts
    assert "think>" not in thoughts + response.output_text
    assert response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens > 0
    with client.responses.create(stream=True, **asked) as stream:
        events = list(stream)
    assert (
        "".join(event.delta for event in events if event.type == "response.reasoning_text.delta")
        == thoughts
    )
    assert (
        "".join(event.delta for event in events if event.type == "response.output_text.delta")
        == response.output_text
    )


def test_a_response_keeps_to_a_schema(client: openai.OpenAI) -> None:
    text: Any = {
        "format": {"type": "json_schema", "name": "verdict", "schema": JSON, "strict": True}
    }
    response = client.responses.create(
        model=MODEL, input="Is it ok?", text=text, max_output_tokens=60, temperature=0
    )
    assert set(json.loads(response.output_text)) == {"ok"}


def test_log_probabilities_where_they_are_included(client: openai.OpenAI) -> None:
    # Instruct mode: this test is about the tokens of the text alone.
    wanted: Any = {
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
        "temperature": 0,
        "max_output_tokens": 5,
    }
    off: Any = {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}
    whole = client.responses.create(model=MODEL, input="What is kvmesh?", **wanted, **off)
    told = whole.output[0].model_dump()["content"][0]["logprobs"]
    assert len(told) == 5
    assert all(len(entry["top_logprobs"]) == 2 for entry in told)
    assert "".join(entry["token"] for entry in told) == whole.output_text
    with client.responses.create(
        model=MODEL, input="What is kvmesh?", stream=True, **wanted, **off
    ) as stream:
        streamed = [
            entry.model_dump()
            for event in stream
            if event.type == "response.output_text.delta"
            for entry in event.logprobs
        ]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in told]


@pytest.mark.parametrize(
    "choice", [{"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "get_weather"}]
)
def test_a_message_uses_a_tool_and_goes_on_from_its_result(
    claude: anthropic.Anthropic, choice: Any
) -> None:
    asked: Any = {
        "model": MODEL,
        "tools": [TOOL],
        "max_tokens": 200,
        "extra_body": GREEDY if choice["type"] == "auto" else BRIEF,
    }
    ask: Any = [{"role": "user", "content": WEATHER}]
    message = claude.messages.create(messages=ask, tool_choice=choice, **asked)
    use = message.content[-1]
    assert use.type == "tool_use"
    assert use.name == "get_weather"
    assert set(use.input) == {"city"}
    assert message.stop_reason == "tool_use"
    with claude.messages.stream(messages=ask, tool_choice=choice, **asked) as stream:
        streamed = stream.get_final_message()
    last = streamed.content[-1]
    assert last.type == "tool_use"
    assert (last.name, last.input, streamed.stop_reason) == (use.name, use.input, "tool_use")
    result: Any = {
        "type": "tool_result",
        "tool_use_id": use.id,
        "content": '{"condition": "sunny", "temperature_c": 20}',
    }
    told: Any = [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    assert claude.messages.create(messages=ask + told, **asked).stop_reason == "end_turn"


def test_a_message_thinks_where_it_is_asked_to(claude: anthropic.Anthropic) -> None:
    ask: Any = {
        "model": MODEL,
        "max_tokens": 1200,
        "messages": [{"role": "user", "content": "What is kvmesh?"}],
        "extra_body": GREEDY,
    }
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    message = claude.messages.create(thinking=thinking, **ask)
    assert [block.type for block in message.content] == ["thinking", "text"]
    with claude.messages.stream(thinking=thinking, **ask) as stream:
        streamed = stream.get_final_message()
    assert [block.model_dump() for block in streamed.content] == [
        block.model_dump() for block in message.content
    ]
    hidden = claude.messages.create(thinking=thinking | {"display": "omitted"}, **ask)
    assert hidden.content[0].model_dump()["thinking"] == ""
    assert [
        block.type for block in claude.messages.create(thinking={"type": "disabled"}, **ask).content
    ] == ["text"]


def test_a_message_keeps_to_a_schema(claude: anthropic.Anthropic) -> None:
    message = claude.messages.create(
        model=MODEL,
        max_tokens=60,
        messages=[{"role": "user", "content": "Is it ok?"}],
        output_config={"format": {"type": "json_schema", "schema": JSON}},
        extra_body=GREEDY,
    )
    assert set(json.loads(message.content[-1].model_dump()["text"])) == {"ok"}


def test_generate_scores_every_token_of_output_and_prompt(
    real: Fleet, client: openai.OpenAI
) -> None:
    body: dict[str, Any] = {
        "text": "kvmesh serves OpenAI clients",
        "sampling_params": {"temperature": 0, "max_new_tokens": 40},
        "return_logprob": True,
        "top_logprobs_num": 2,
        "logprob_start_len": 0,
        "return_text_in_logprobs": True,
    }
    output = httpx.post(real.url + "/generate", json=body, timeout=60).json()
    info = output["meta_info"]
    assert [token_id for _, token_id, _ in info["output_token_logprobs"]] == output["output_ids"]
    assert len(output["output_ids"]) == info["completion_tokens"]
    assert info["weight_version"] == "default"
    assert (
        len(info["input_token_logprobs"])
        == info["prompt_tokens"]
        == len(info["input_top_logprobs"])
    )
    assert info["input_token_logprobs"][0][0] is None
    assert info["input_top_logprobs"][0] is None
    assert "".join(text for _, _, text in info["input_token_logprobs"]) == body["text"]
    for (chosen, token_id, _), top in zip(
        info["output_token_logprobs"], info["output_top_logprobs"], strict=True
    ):
        assert top[0][1] == token_id
        assert top[0][0] == chosen
    later = httpx.post(
        real.url + "/generate", json=body | {"logprob_start_len": 3}, timeout=60
    ).json()["meta_info"]
    [[_, *first], *rest] = info["input_token_logprobs"][3:]
    assert later["input_token_logprobs"] == [[None, *first], *rest]
    assert later["input_top_logprobs"] == [None, *info["input_top_logprobs"][4:]]
    scored_only = body | {"sampling_params": {"max_new_tokens": 0}}
    prompt_only = httpx.post(real.url + "/generate", json=scored_only, timeout=60).json()
    assert prompt_only["text"] == ""
    assert prompt_only["output_ids"] == []
    assert prompt_only["meta_info"]["input_token_logprobs"] == info["input_token_logprobs"]


def test_generate_ends_as_sglang_says_it_ends(real: Fleet) -> None:
    body: dict[str, Any] = {
        "text": "<|im_start|>user\nping<|im_end|>\n<|im_start|>assistant\n",
        "return_logprob": True,
    }
    output = httpx.post(
        real.url + "/generate", json=body | {"sampling_params": GREEDY}, timeout=60
    ).json()
    assert output["meta_info"]["input_token_logprobs"] == []
    finish = output["meta_info"]["finish_reason"]
    assert finish["type"] == "stop"
    assert (
        finish["matched"]
        == output["output_ids"][-1]
        == output["meta_info"]["output_token_logprobs"][-1][1]
    )
    grammar = body | {"sampling_params": GREEDY | {"json_schema": json.dumps(JSON)}}
    assert set(
        json.loads(httpx.post(real.url + "/generate", json=grammar, timeout=60).json()["text"])
    ) == {"ok"}
