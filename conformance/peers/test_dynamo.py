"""What Dynamo's frontend tests ask: prompts of every shape, readiness, errors in each API's form,
its extension, its metrics.
"""

from typing import Any

import httpx
import openai
import pytest

CHAT: Any = [{"role": "user", "content": "What is kvmesh?"}]
GREEDY: Any = {"temperature": 0}


def bodies(model: str) -> dict[str, dict[str, Any]]:
    """A good request to each endpoint that generates."""
    return {
        "/v1/chat/completions": {"model": model, "messages": CHAT, "max_tokens": 4},
        "/v1/completions": {"model": model, "prompt": "Tell me", "max_tokens": 4},
        "/v1/responses": {"model": model, "input": "Tell me", "max_output_tokens": 16},
        "/v1/messages": {"model": model, "messages": CHAT, "max_tokens": 4},
    }


PATHS = tuple(bodies(""))


def message_of(answer: httpx.Response, path: str) -> str:
    """The error's message, in the form of the endpoint's own clients."""
    told = answer.json()
    assert (told.get("type") == "error") == (path == "/v1/messages")
    assert set(told["error"]) >= {"message", "type"}
    return told["error"]["message"]


@pytest.mark.parametrize(
    "prompt",
    ["Tell me", ["Tell me"], ["Mars", "Ceres", "Jupiter"]],
    ids=["one", "list of one", "three"],
)
def test_a_prompt_of_any_shape_is_answered(client: openai.OpenAI, model: str, prompt: Any) -> None:
    answer = client.completions.create(model=model, prompt=prompt, max_tokens=8)
    assert len(answer.choices) == (1 if isinstance(prompt, str) else len(prompt))


def test_readiness_of_the_server_and_of_a_model(http: httpx.Client, model: str) -> None:
    for page in ("/live", "/ready", "/health", f"/v1/models/{model}", f"/v1/models/{model}/ready"):
        assert http.get(page).status_code == 200
    for page in ("/v1/models/none", "/v1/models/none/ready"):
        assert http.get(page).status_code == 404


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_is_none_is_named_before_a_stream_begins(
    http: httpx.Client, model: str, path: str, stream: bool
) -> None:
    answer = http.post(path, json=bodies(model)[path] | {"model": "none-such", "stream": stream})
    assert answer.status_code == 404
    assert "none-such" in message_of(answer, path)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"top_p": 2}, {"temperature": "hot"}, {"stream": "yes"}]
)
def test_a_value_out_of_range_is_named(
    http: httpx.Client, model: str, path: str, wrong: dict[str, Any]
) -> None:
    answer = http.post(path, json=bodies(model)[path] | wrong)
    assert answer.status_code == 400
    assert next(iter(wrong)) in message_of(answer, path)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"text"', "{}"])
def test_a_body_that_is_none_is_the_clients_error(http: httpx.Client, path: str, body: str) -> None:
    answer = http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert message_of(answer, path)


def tool_bodies(model: str, name: str) -> dict[str, Any]:
    """A tool of that name, as each API has it."""
    schema = {"type": "object", "properties": {}}
    good, function = bodies(model), {"name": name, "parameters": schema}
    return {
        "/v1/chat/completions": good["/v1/chat/completions"]
        | {"tools": [{"type": "function", "function": function}]},
        "/v1/responses": good["/v1/responses"] | {"tools": [{"type": "function", **function}]},
        "/v1/messages": good["/v1/messages"] | {"tools": [{"name": name, "input_schema": schema}]},
    }


def test_a_tool_without_a_name_is_refused_everywhere(http: httpx.Client, model: str) -> None:
    for path, body in tool_bodies(model, "").items():
        answer = http.post(path, json=body)
        assert answer.status_code == 400, path
        assert message_of(answer, path)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("top", [0, 1])
def test_no_alternatives_leave_the_chosen_tokens_scores(
    client: openai.OpenAI, model: str, stream: bool, top: int
) -> None:
    options: Any = {
        "model": model,
        "messages": CHAT,
        "max_tokens": 2,
        "logprobs": True,
        "top_logprobs": top,
        **GREEDY,
    }
    if stream:
        scored = [
            choice.logprobs
            for chunk in client.chat.completions.create(stream=True, **options)
            for choice in chunk.choices
        ]
    else:
        scored = [client.chat.completions.create(**options).choices[0].logprobs]
    tokens = [token for each in scored if each is not None for token in each.content or ()]
    assert tokens
    assert all(len(token.top_logprobs) == top for token in tokens)


def test_the_extension_tells_where_a_request_ran(client: openai.OpenAI, model: str) -> None:
    extra = {"nvext": {"extra_fields": ["worker_id", "timing"], "cache_salt": "a"}}
    told: Any = client.chat.completions.create(
        model=model, messages=CHAT, max_tokens=2, extra_body=extra
    )
    assert {"worker_id", "timing"} <= set(told.nvext)


@pytest.mark.parametrize(
    "wrong", [{"cache_salt": 42}, {"backend_instance_id": "nobody"}, {"dp_rank": -1}]
)
def test_an_extension_that_cannot_be_is_refused(
    http: httpx.Client, model: str, wrong: dict[str, Any]
) -> None:
    answer = http.post(
        "/v1/chat/completions", json=bodies(model)["/v1/chat/completions"] | {"nvext": wrong}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("nvext")


def test_an_answers_id_is_the_clients_own(http: httpx.Client, model: str) -> None:
    headers = {"x-request-id": "abc-123", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    for path, body in bodies(model).items():
        assert http.post(path, json=body, headers=headers).headers["x-request-id"] == "abc-123"


def test_requests_are_counted_by_endpoint_and_outcome(http: httpx.Client, model: str) -> None:
    def count(outcome: str) -> float:
        start = "dynamo_frontend_requests_total{"
        wanted = ('endpoint="completions"', f'status="{outcome}"')
        lines = [
            line
            for line in http.get("/metrics").text.splitlines()
            if line.startswith(start) and all(each in line for each in wanted)
        ]
        return sum(float(line.split()[-1]) for line in lines)

    before = count("success"), count("error")
    body = bodies(model)["/v1/completions"]
    assert http.post("/v1/completions", json=body).status_code == 200
    assert http.post("/v1/completions", json=body | {"model": "none"}).status_code == 404
    assert (count("success") - before[0], count("error") - before[1]) == (1, 1)


def test_a_long_prompt_said_twice_comes_from_the_cache(client: openai.OpenAI, model: str) -> None:
    messages: Any = [{"role": "user", "content": "The mesh remembers what it has read. " * 40}]
    usages = [
        client.chat.completions.create(model=model, messages=messages, max_tokens=2).usage
        for _ in range(2)
    ]
    assert usages[1] is not None
    assert usages[1].prompt_tokens_details is not None
    assert (usages[1].prompt_tokens_details.cached_tokens or 0) > usages[1].prompt_tokens / 2
