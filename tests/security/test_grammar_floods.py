"""Schemas, tools and template arguments that stood the loop still for minutes, or went to a worker
128 times.
"""

import json
from typing import Any

import pytest

from starter.process import Process
from tests.kit.fleet import Fleet
from tests.security.another_user import AnotherUser, post

TOOL = {"type": "function", "function": {"name": "f"}}


def spread(depth: int) -> dict[str, Any]:
    if not depth:
        return {"type": "string"}
    return {
        "type": "object",
        "properties": {"a": spread(depth - 1)},
        "anyOf": [{"required": ["a"]}] * 16,
    }


NUMBERS = list(range(8_000))
SCHEMAS = {
    "unclosed classes": {"type": "string", "pattern": "[^" * 60_000},
    "an anyOf in each other": spread(6),
    "oneOf to enums": {
        "properties": {
            str(n): {"oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}] * 60}
            for n in range(30)
        },
        "$defs": {"a": {"enum": NUMBERS}, "b": {"enum": NUMBERS}},
    },
    "anyOf to enums": {
        "type": "integer",
        "anyOf": [{"$ref": "#/$defs/a"}] * 9_000,
        "$defs": {"a": {"enum": NUMBERS}},
    },
}
REFUSED = {
    "template arguments": {
        "chat_template_kwargs": {"x": "A" * 15_000_000},
        "tools": [TOOL],
        "n": 128,
    },
    "tools": {
        "tools": [{"type": "function", "function": {"name": "f", "description": "x" * 2_000_000}}],
        "n": 128,
    },
    "schemas of tools": {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": spread(6)}}],
        "tool_choice": "required",
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_takes_no_more_than_its_share(fleet: tuple[Fleet, Process], name: str) -> None:
    with AnotherUser(*fleet):
        for field in ("json_schema", "guided_json"):
            schema = json.dumps(SCHEMAS[name])
            status, answer = post(
                fleet[0],
                "/v1/completions",
                {"model": "demo", "prompt": "x", "max_tokens": 1, field: schema},
            )
            assert status in (200, 400), answer[:300]


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_go_with_each_choice_is_bounded(fleet: tuple[Fleet, Process], name: str) -> None:
    messages = [{"role": "user", "content": "x"}]
    with AnotherUser(*fleet):
        status, answer = post(
            fleet[0],
            "/v1/chat/completions",
            {"model": "demo", "messages": messages, "max_tokens": 1, **REFUSED[name]},
        )
        assert status == 400, answer[:300]
