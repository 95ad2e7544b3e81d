"""Text made by diffusion, block by block, on the simulation: what clients get, what is refused on
every route, and where it is routed.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import openai
import pytest

from tests.fleet.test_kv_routing import prompt, workers_of
from tests.fleet.test_request_errors import post
from tests.kit.fleet import Fleet

BLOCK = 8
SIM = ("--context-length", "4096", "--sim-speedup", "5", "--sim-dllm-block", str(BLOCK))
USER = [{"role": "user", "content": "hi"}]
IDS = {"return_token_ids": True}
FUNCTION = {"name": "look", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
NAMED = {"name": "a", "schema": SCHEMA}

Body = dict[str, Any]

ROUTES: dict[str, Body] = {
    "/v1/chat/completions": {"model": "greedy", "messages": USER, "max_tokens": 4},
    "/v1/completions": {"model": "greedy", "prompt": "hi", "max_tokens": 4},
    "/v1/responses": {"model": "greedy", "input": "hi", "max_output_tokens": 4},
    "/v1/messages": {"model": "greedy", "messages": USER, "max_tokens": 4},
    "/generate": {"model": "greedy", "text": "hi"},
}

CHOSEN: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.1,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "repetition_penalty": 1.1,
}
BOTH = CHOSEN | {
    "logit_bias": {"5": 1.0},
    "min_tokens": 2,
    "guided_regex": "a",
    "ebnf": 'root ::= "a"',
}

REFUSED: dict[str, list[tuple[Body, str]]] = {
    "/v1/chat/completions": [
        *(({name: value}, name) for name, value in BOTH.items()),
        ({"logprobs": True}, "logprobs"),
        ({"prompt_logprobs": 0}, "prompt_logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": NAMED}},
            "response_format.json_schema.schema",
        ),
        ({"structured_outputs": {"json": SCHEMA}}, "structured_outputs"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look"}}},
            "tool_choice",
        ),
        (
            {"tools": [{**TOOL, "function": {**FUNCTION, "strict": True}}]},
            "tools[0].function.strict",
        ),
        ({"max_thinking_tokens": 5}, "max_thinking_tokens"),
        ({"custom_params": {"a": 1}}, "custom_params"),
    ],
    "/v1/completions": [
        *(({name: value}, name) for name, value in BOTH.items()),
        ({"logprobs": 0}, "logprobs"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
        ({"json_schema": "{}"}, "json_schema"),
    ],
    "/v1/responses": [
        *(({name: value}, name) for name, value in CHOSEN.items()),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"text": {"format": {"type": "json_schema", **NAMED}}}, "text.format"),
    ],
    "/v1/messages": [
        *(({name: value}, name) for name, value in CHOSEN.items()),
        (
            {"tools": [{"name": "a", "input_schema": SCHEMA}], "tool_choice": {"type": "any"}},
            "tool_choice",
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            "output_config.format",
        ),
    ],
    "/generate": [
        *(
            ({"sampling_params": {name: value}}, f"sampling_params.{name}")
            for name, value in CHOSEN.items()
        ),
        ({"sampling_params": {"min_new_tokens": 2}}, "sampling_params.min_new_tokens"),
        ({"sampling_params": {"regex": "a"}}, "sampling_params.regex"),
        ({"return_logprob": True}, "return_logprob"),
    ],
}

TAKEN: list[Body] = [
    {},
    {"temperature": 0},
    {"temperature": 0, "top_p": 0.9, "top_k": 40, "min_p": 0.1},
    {"top_k": 1},
    {"temperature": 1, "top_p": 1, "top_k": -1, "min_p": 0, "seed": 7},
    {"frequency_penalty": 0, "presence_penalty": 0, "repetition_penalty": 1, "min_tokens": 0},
    {"logit_bias": {}, "ignore_eos": True, "n": 2, "stop": ["x"], "stop_token_ids": [5]},
]
"""Of these each asks for nothing, or for what is done."""


@pytest.fixture(scope="module")
def diffusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A frontend, and a worker each of an algorithm that is greedy and of one that draws."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    fleet.frontend()
    for name, algorithm in (("greedy", "LowConfidence"), ("drawing", "Gemma4Renoise")):
        names = ("--served-model-name", name, "--worker-id", name)
        fleet.worker(*SIM, *names, "--dllm-algorithm", algorithm, "--kv-block-size", str(BLOCK))
    fleet.wait_for_workers(2)
    yield fleet
    fleet.stop()


@pytest.fixture
def client(diffusing: Fleet) -> Iterator[openai.OpenAI]:
    with diffusing.client() as client:
        yield client


def test_an_answer_comes_block_by_block(client: openai.OpenAI) -> None:
    """The first block is what the prompt leaves of its own, and the last is as long as is asked; a
    slow reader gets several at once.
    """
    for length, tokens, ends in ((5, 20, {3, 11, 19, 20}), (16, 16, {8, 16}), (15, 1, {1})):
        asked: Any = {"model": "greedy", "prompt": prompt(length, length), "max_tokens": tokens}
        usage = {"include_usage": True}
        chunks: list[Any] = list(
            client.completions.create(**asked, stream=True, stream_options=usage, extra_body=IDS)
        )
        *choices, last = (choice for chunk in chunks for choice in chunk.choices)
        told = [choice.token_ids for choice in (*choices, last)]
        assert set(accumulate(map(len, told))) <= ends
        assert (chunks[-1].usage.completion_tokens, last.finish_reason) == (tokens, "length")
        whole: Any = client.completions.create(**asked, extra_body=IDS)
        assert whole.choices[0].token_ids == [token for ids in told for token in ids]


def test_a_stop_token_in_a_block_is_the_end(client: openai.OpenAI) -> None:
    asked: Any = {"model": "greedy", "prompt": prompt(16, 1), "max_tokens": 24}
    whole: Any = client.completions.create(**asked, extra_body=IDS)
    tokens = whole.choices[0].token_ids
    at = next(at for at in range(9, 15) if tokens[at] not in tokens[:at])
    ended: Any = client.completions.create(
        **asked, extra_body=IDS | {"stop_token_ids": [tokens[at]]}
    )
    assert ended.choices[0].finish_reason == "stop"
    assert ended.choices[0].token_ids == tokens[: at + 1]
    assert ended.usage.completion_tokens == at + 1


@pytest.mark.parametrize("route", REFUSED)
def test_what_diffusion_cannot_honour_is_refused_by_name(diffusing: Fleet, route: str) -> None:
    for asked, param in REFUSED[route]:
        status, answer, _ = post(diffusing, route, ROUTES[route] | asked)
        error = answer.get("error", answer)
        assert status == 400, (asked, answer)
        # Anthropic's errors name the field in their text alone
        assert error.get("param", param) == param, (asked, answer)
        assert "param" in error or param in error["message"], (asked, answer)


@pytest.mark.parametrize("asked", TAKEN, ids=str)
def test_what_asks_for_nothing_or_for_what_is_done_is_taken(diffusing: Fleet, asked: Body) -> None:
    for route in ("/v1/chat/completions", "/v1/completions"):
        status, answer, headers = post(diffusing, route, ROUTES[route] | asked)
        assert (status, "x-kvmesh-ignored" in headers) == (200, False), answer


@pytest.mark.parametrize(
    ("asked", "param"),
    [({"temperature": 0}, "temperature"), ({"seed": 7}, "seed"), ({"top_k": 1}, "top_k")],
)
def test_an_algorithm_that_draws_is_not_asked_to_repeat_itself(
    diffusing: Fleet, asked: Body, param: str
) -> None:
    for route in ("/v1/chat/completions", "/v1/completions"):
        body = ROUTES[route] | {"model": "drawing"}
        assert post(diffusing, route, body)[0] == 200
        status, answer, _ = post(diffusing, route, body | asked)
        assert (status, answer["error"]["param"]) == (400, param)


def test_prefixes_are_predicted_by_block_or_not_at_all(
    diffusing: Fleet, client: openai.OpenAI
) -> None:
    """An engine that keeps nothing between requests is not taken to."""
    tokens = prompt(45, 9)
    kv_events = {each["worker_id"]: each["kv_events"] for each in workers_of(diffusing)}
    assert kv_events == {"greedy": "current", "drawing": "none"}
    for model, found in (("greedy", 40), ("drawing", 0)):
        nvext = {"extra_fields": ["cached_tokens"]}
        for expected in (0, found):
            answer: Any = client.completions.create(
                model=model, prompt=tokens, max_tokens=4, extra_body={"nvext": nvext}
            )
            told = answer.nvext["cached_tokens"]
            assert (told["predicted"], told["actual"]) == (expected, expected)
