"""Answers that are far larger than their requests: bounded before any work, and made in pieces."""

import json
from typing import Any

import pytest

from tests.security.another_user import AnotherUser
from tests.security.probed_fleet import ProbedFleet

OWN_PAUSE_S_MAX = 0.5
"""Of CPU time; in pieces it is 10 ms, and in one piece it was seconds."""

HELD_BYTES_MAX = 150_000_000
CHAT: dict[str, Any] = {
    "model": "demo",
    "messages": [{"role": "user", "content": "x"}],
    "ignore_eos": True,
}


REPEATING = {
    "model": "demo",
    "input": "x",
    "stream": True,
    "include": ["message.output_text.logprobs"],
    "top_logprobs": 20,
}


def chat(**fields: Any) -> bytes:
    return json.dumps(
        {
            **CHAT,
            "max_tokens": 200,
            "min_tokens": 200,
            "logprobs": True,
            "top_logprobs": 20,
            **fields,
        }
    ).encode()


def test_many_log_probabilities_stop_nobody(probed: ProbedFleet) -> None:
    with AnotherUser(probed.fleet):
        probed.begin()
        status, answer = probed.post("/v1/chat/completions", chat(n=32))
        measured = probed.measured()
    assert status == 200
    choices = json.loads(answer)["choices"]
    assert [choice["index"] for choice in choices] == list(range(32))
    for choice in choices:
        content = choice["logprobs"]["content"]
        assert [len(entry["top_logprobs"]) for entry in content] == [20] * 200
        assert (
            b"".join(bytes(entry["bytes"]) for entry in content).decode(errors="replace")
            == choice["message"]["content"]
        )
    assert measured.own_pause_s < OWN_PAUSE_S_MAX
    assert measured.held_bytes < HELD_BYTES_MAX


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_streams_tell_the_same_however_much_comes_at_once(probed: ProbedFleet, path: str) -> None:
    asked = {"model": "demo", "ignore_eos": True, "max_tokens": 500, "seed": 1, "n": 4}
    asked |= (
        {"prompt": "x", "logprobs": 5}
        if path == "/v1/completions"
        else {**CHAT, "logprobs": True, "top_logprobs": 5}
    )
    whole = json.loads(probed.post(path, json.dumps(asked).encode())[1])
    streamed: list[dict[str, list[Any]]] = [{} for _ in range(4)]
    for line in probed.post(path, json.dumps({**asked, "stream": True}).encode())[1].split(b"\n\n"):
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:])["choices"]:
                for name, values in (choice["logprobs"] or {}).items():
                    streamed[choice["index"]].setdefault(name, []).extend(values or [])
    for choice in whole["choices"]:
        told = {name: values or [] for name, values in choice["logprobs"].items()}
        assert streamed[choice["index"]] == told


def test_generate_tells_whole_answers_in_pieces(probed: ProbedFleet) -> None:
    sampling = {"max_new_tokens": 300, "ignore_eos": True, "n": 4}
    asked = {
        "text": "x",
        "model": "demo",
        "sampling_params": sampling,
        "return_logprob": True,
        "top_logprobs_num": 20,
    }
    answers = json.loads(probed.post("/generate", json.dumps(asked).encode())[1])
    for answer in answers:
        told = answer["meta_info"]
        assert [entry[1] for entry in told["output_token_logprobs"]] == answer["output_ids"]
        assert [len(top) for top in told["output_top_logprobs"]] == [20] * 300


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {**CHAT, "n": 128, "max_tokens": 1_489, "logprobs": True,
        "top_logprobs": 20}),
        ("/v1/completions", {"model": "demo", "prompt": [[1]] * 1_000, "max_tokens": 4_001,
        "logprobs": 0}),
        ("/v1/completions", {"model": "demo", "prompt": [1] * 32_000, "n": 128, "max_tokens": 1,
        "echo": True, "logprobs": 1}),
        ("/v1/responses", {**REPEATING, "max_output_tokens": 2_858}),
        ("/generate", {"model": "demo", "text": "x", "stream": True, "return_logprob": True,
        "top_logprobs_num": 20,
                       "sampling_params": {"max_new_tokens": 30_000}}),
    ],
)  # fmt: skip
def test_what_would_be_too_much_is_refused_before_any_work(
    probed: ProbedFleet, path: str, asked: dict[str, Any]
) -> None:
    with AnotherUser(probed.fleet):
        status, answer = probed.post(path, json.dumps(asked).encode())
    assert status == 400
    assert b"log probabilities" in answer


def test_an_answer_of_any_length_is_cut_where_it_would_be_too_much(probed: ProbedFleet) -> None:
    with AnotherUser(probed.fleet):
        status, answer = probed.post("/v1/responses", json.dumps(REPEATING).encode())
    assert status == 200
    (ended,) = [
        json.loads(line[6:])
        for line in answer.splitlines()
        if line.startswith(b'data: {"type":"response.incomplete"')
    ]
    assert ended["response"]["usage"]["output_tokens"] == 2_857


def test_copies_of_what_all_choices_share_are_counted(probed: ProbedFleet) -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "description": "x" * 523_000, "parameters": {"type": "object"}},
    }
    messages = [{"role": "user", "content": "hello " * 1_000}]
    asked = {
        **CHAT,
        "messages": messages,
        "n": 128,
        "max_tokens": 1,
        "tools": [{**tool, "defer_loading": True}],
        "tool_choice": "required",
    }
    status, answer = probed.post("/v1/chat/completions", json.dumps(asked).encode())
    assert status == 400
    assert json.loads(answer)["error"]["param"] == "n"
