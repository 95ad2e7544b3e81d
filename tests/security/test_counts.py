"""Bodies of many megabytes that are made of nothing: refused by their counts, or read beside the
loop.
"""

import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.security.another_user import AnotherUser
from tests.security.inflated import Attack, attack
from tests.security.probed_fleet import HELD_FLOOR_BYTES, HELD_SIZES_MAX, ProbedFleet

OWN_PAUSE_S_MAX = 0.5
"""Of CPU time, on any machine. `make fuzz` finds some 10 ms."""

CHAT = '{"model":"demo","max_tokens":1,"messages":[{"role":"user","content":"x"%s}]%s}'


def nested(what: str, mb: float) -> str:
    return "[" + ",".join([what] * int(mb * 1e6 / (len(what) + 1))) + "]"


def said(path: str, **fields: Any) -> Attack:
    return Attack(path, json.dumps({"model": "demo", **fields}).encode(), "")


BODIES: Final[dict[str, Callable[[], Attack]]] = {
    "a field with a name of 20 MB": lambda: Attack(
        "/v1/chat/completions", (CHAT % ("", f',"{"a" * 20_000_000}":1')).encode(), ""
    ),
    "empty lists in a message": lambda: Attack(
        "/v1/chat/completions", (CHAT % (',"y":' + nested("[]", 10), "")).encode(), ""
    ),
    "objects in a message": lambda: Attack(
        "/v1/chat/completions", (CHAT % (',"y":' + nested('{"":0}', 3), "")).encode(), ""
    ),
    "as many lists as are allowed": lambda: Attack(
        "/v1/chat/completions", (CHAT % (',"y":' + nested("[]", 0.17), "")).encode(), ""
    ),
    "nulls": lambda: Attack(
        "/v1/chat/completions", (CHAT % ("", ',"stop":' + nested("null", 20))).encode(), ""
    ),
    "an enum value of 20 MB": lambda: Attack(
        "/v1/chat/completions", (CHAT % ("", f',"service_tier":"{"a" * 20_000_000}"')).encode(), ""
    ),
    "10,000 system items": lambda: said(
        "/v1/responses",
        instructions="x" * 1_000,
        max_output_tokens=1,
        input=[{"role": "system", "content": "x" * 1_000}] * 9_999,
    ),
    "tool calls": lambda: said(
        "/v1/chat/completions",
        max_tokens=1,
        messages=[
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}] * 150_000},
        ],
    ),
    "more calls than a message has": lambda: said(
        "/v1/chat/completions",
        max_tokens=1,
        messages=[
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}] * 2_000},
        ],
    ),
    "token ids": lambda: said("/v1/completions", prompt=[1] * 3_000_000, max_tokens=1),
    "as many token ids as are allowed": lambda: said(
        "/v1/completions", prompt=[1] * 499_000, max_tokens=1
    ),
    "a text to tokenize": lambda: said("/tokenize", prompt="hello, " * 1_500_000),
    "token ids to detokenize": lambda: said("/detokenize", tokens=[[1] * 30_000] * 16),
    "a prompt far above the context": lambda: said(
        "/v1/chat/completions",
        messages=[{"role": "user", "content": "a b " * 4_000_000}],
        max_tokens=1,
    ),
    "a schema of 90 KB": lambda: said(
        "/v1/chat/completions",
        max_tokens=1,
        messages=[{"role": "user", "content": "x"}],
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "parameters": {"anyOf": [{"const": str(at)} for at in range(5_000)]},
                },
            }
        ],
        tool_choice="required",
    ),
    "an enum of 1 MB": lambda: said(
        "/v1/chat/completions",
        max_tokens=1,
        messages=[{"role": "user", "content": "x"}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"enum": [f"{at:08}" for at in range(90_000)]}},
        },
    ),
    "as many prompts as are allowed": lambda: said(
        "/v1/completions", prompt=["x"] * 1_024, max_tokens=1
    ),
}
"""Made when they are sent: 128 MB, which every process that collects this would make and keep."""


@pytest.mark.parametrize("name", BODIES)
def test_nobody_waits_for_it(probed: ProbedFleet, name: str) -> None:
    body = BODIES[name]()
    with AnotherUser(probed.fleet):
        measured = probed.send(body)
    assert measured.status in (200, 400), measured
    assert measured.own_pause_s < OWN_PAUSE_S_MAX, measured
    assert measured.held_bytes < max(HELD_FLOOR_BYTES, HELD_SIZES_MAX * measured.body_bytes), (
        measured
    )


def test_requests_of_the_fuzzer_do_neither(probed: ProbedFleet) -> None:
    with AnotherUser(probed.fleet):
        for seed in range(40):
            one = attack(seed, bytes_max=8_000_000)
            measured = probed.send(one)
            assert measured.status not in (0, 500), (seed, one.about, measured)
            assert measured.own_pause_s < OWN_PAUSE_S_MAX, (seed, one.about, measured)
            assert measured.held_bytes < max(
                HELD_FLOOR_BYTES, HELD_SIZES_MAX * measured.body_bytes
            ), (seed, one.about, measured)
