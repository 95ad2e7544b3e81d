"""Conversations as other clients send them, to models with two families' templates: the same prompt
on every endpoint.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.kit.fleet import Fleet
from tests.unit.text.template_shapes import SHAPES

TEMPLATES = ("qwen3", "qwen3_5")
USER = {"role": "user", "content": "hi"}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "r"}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A frontend with a simulated model for each template, named after it."""
    fleet = Fleet(tmp_path_factory.mktemp("history"))
    fleet.frontend()
    for name in TEMPLATES:
        template = fleet.directory / f"{name}.jinja"
        template.write_text(SHAPES[name])
        fleet.worker(
            "--served-model-name",
            name,
            "--custom-jinja-template",
            str(template),
            "--sim-speedup",
            "0",
        )
    fleet.wait_for_workers(len(TEMPLATES))
    with httpx.Client(base_url=fleet.url, timeout=60, trust_env=False) as client:
        yield client
    fleet.stop()


def tokens(http: httpx.Client, path: str, body: dict[str, Any]) -> int:
    """Of the prompt, as the answer counts them."""
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    usage = told.get("usage", told)
    return usage["input_tokens" if "input_tokens" in usage else "prompt_tokens"] + (
        usage.get("cache_read_input_tokens") or 0
    )


def chat(http: httpx.Client, model: str, *messages: dict[str, Any]) -> int:
    return tokens(
        http, "/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": 2}
    )


def message(http: httpx.Client, model: str, **fields: Any) -> int:
    counted = tokens(http, "/v1/messages/count_tokens", {"model": model, **fields})
    assert counted == tokens(http, "/v1/messages", {"model": model, "max_tokens": 2, **fields})
    return counted


@pytest.mark.parametrize("model", TEMPLATES)
def test_a_developer_is_heard_on_every_endpoint(http: httpx.Client, model: str) -> None:
    system = chat(http, model, {"role": "system", "content": "Say BANANA"}, USER)
    assert system > chat(http, model, USER) + 2
    assert chat(http, model, {"role": "developer", "content": "Say BANANA"}, USER) == system
    parts = [{"type": "input_text", "text": "Say BANANA"}]
    items = [
        {"type": "message", "role": "developer", "content": parts},
        {"type": "message", **USER},
    ]
    assert (
        tokens(http, "/v1/responses", {"model": model, "input": items, "max_output_tokens": 2})
        == system
    )
    assert message(http, model, system="Say BANANA", messages=[USER]) == system


def test_instructions_that_come_late_are_merged_on_every_endpoint(http: httpx.Client) -> None:
    model = "qwen3_5"
    merged = chat(http, model, {"role": "system", "content": "First.\n\nSecond."}, USER)
    first, second = (
        {"role": "system", "content": "First."},
        {"role": "system", "content": "Second."},
    )
    assert chat(http, model, first, second, USER) == merged
    assert chat(http, model, first, USER, second) == merged
    assert message(http, model, system="First.", messages=[USER, second]) == merged
    late = [USER, {"role": "developer", "content": "Second."}]
    assert (
        tokens(
            http,
            "/v1/responses",
            {"model": model, "instructions": "First.", "input": late, "max_output_tokens": 2},
        )
        == merged
    )
    tokenized = http.post(
        "/tokenize", json={"model": model, "messages": [first, USER, second]}
    ).json()
    assert tokenized["count"] == merged


@pytest.mark.parametrize("model", TEMPLATES)
@pytest.mark.parametrize("arguments", ['{"value": ', "null", "[]", '"x"', None])
def test_a_conversation_with_a_broken_call_goes_on(
    http: httpx.Client, model: str, arguments: str | None
) -> None:
    broken = {**CALL, "function": {"name": "f", "arguments": arguments}}
    whole = chat(
        http, model, USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT
    )
    assert (
        chat(
            http,
            model,
            USER,
            {"role": "assistant", "content": None, "tool_calls": [broken]},
            RESULT,
        )
        == whole
    )
    if arguments is not None:
        items = [
            USER,
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": arguments},
            {"type": "function_call_output", "call_id": "a", "output": "r"},
        ]
        assert (
            tokens(http, "/v1/responses", {"model": model, "input": items, "max_output_tokens": 2})
            == whole
        )


@pytest.mark.parametrize("model", TEMPLATES)
def test_older_and_other_names_make_the_same_prompt(http: httpx.Client, model: str) -> None:
    now = [
        USER,
        {"role": "assistant", "content": "", "reasoning_content": "THOUGHT", "tool_calls": [CALL]},
        RESULT,
    ]
    older = [
        {"role": "User", "content": [{"type": "input_text", "text": "hi"}]},
        {
            "role": "assistant",
            "reasoning": "THOUGHT",
            "content": None,
            "function_call": CALL["function"],
        },
        {"role": "function", "name": "f", "content": "r"},
    ]
    assert (
        chat(http, model, *older)
        == chat(http, model, *now)
        > chat(http, model, now[0], now[1] | {"reasoning_content": ""}, now[2])
    )
    refused = {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    assert chat(http, model, USER, refused, USER) == chat(
        http, model, USER, {"role": "assistant", "content": "no"}, USER
    )
