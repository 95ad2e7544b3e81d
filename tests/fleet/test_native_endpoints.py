"""/generate as SGLang's clients use it; /tokenize and /detokenize as vLLM's and SGLang's do."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tokenizers import Tokenizer

from tests.kit.fleet import Fleet

PROMPT = "The mesh carries"
GREEDY = {"temperature": 0, "max_new_tokens": 6}


@pytest.fixture
def http(shared: Fleet) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shared.url, timeout=60) as client:
        yield client


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n")[:-1]]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_text_as_a_whole(http: httpx.Client, client: openai.OpenAI) -> None:
    output = http.post(
        "/generate", json={"text": PROMPT, "sampling_params": GREEDY, "rid": "mine"}
    ).json()
    assert (
        output["text"]
        == client.completions.create(model="demo", prompt=PROMPT, max_tokens=6, temperature=0)
        .choices[0]
        .text
    )
    assert len(output["output_ids"]) == 6
    info = output["meta_info"]
    assert info["id"] == "mine"
    assert info["finish_reason"] == {"type": "length", "length": 6}
    assert info["completion_tokens"] == 6
    assert info["prompt_tokens"] == http.post("/tokenize", json={"prompt": PROMPT}).json()["count"]
    assert info["e2e_latency"] > 0


def test_a_stream_repeats_all_of_the_text_each_time(http: httpx.Client) -> None:
    whole = http.post("/generate", json={"text": PROMPT, "sampling_params": GREEDY}).json()
    events = events_of(
        http.post("/generate", json={"text": PROMPT, "sampling_params": GREEDY, "stream": True})
    )
    for earlier, later in pairwise(events):
        assert later["text"].startswith(earlier["text"])
        assert earlier["meta_info"]["finish_reason"] is None
    assert "index" not in events[-1]
    assert (events[-1]["text"], events[-1]["output_ids"]) == (whole["text"], whole["output_ids"])
    assert events[-1]["meta_info"]["finish_reason"] == {"type": "length", "length": 6}


def test_a_batch_and_several_of_each(http: httpx.Client) -> None:
    texts = [PROMPT, "Another"]
    outputs = http.post(
        "/generate", json={"text": texts, "sampling_params": GREEDY | {"n": 2}, "rid": "r"}
    ).json()
    assert [output["meta_info"]["id"] for output in outputs] == ["r_0", "r_1", "r_2", "r_3"]
    assert outputs[0]["meta_info"]["prompt_tokens"] == outputs[1]["meta_info"]["prompt_tokens"]
    single = http.post("/generate", json={"text": "Another", "sampling_params": GREEDY}).json()
    assert outputs[2]["text"] == outputs[3]["text"] == single["text"]
    events = events_of(
        http.post("/generate", json={"text": texts, "sampling_params": GREEDY, "stream": True})
    )
    assert {event["index"] for event in events} == {0, 1}
    assert (
        len(http.post("/generate", json={"text": [PROMPT], "sampling_params": GREEDY}).json()) == 1
    )


def test_token_ids_in_and_out_and_the_stop_that_matched(http: httpx.Client) -> None:
    ids = http.post("/tokenize", json={"prompt": PROMPT}).json()["tokens"]
    by_text = http.post("/generate", json={"text": PROMPT, "sampling_params": GREEDY}).json()
    by_ids = http.post("/generate", json={"input_ids": ids, "sampling_params": GREEDY}).json()
    assert by_ids["output_ids"] == by_text["output_ids"]
    stop = by_text["text"].split()[2]
    stopped = http.post(
        "/generate", json={"text": PROMPT, "sampling_params": GREEDY | {"stop": stop}}
    ).json()
    assert stopped["meta_info"]["finish_reason"] == {"type": "stop", "matched": stop}
    assert stopped["text"] == by_text["text"][: by_text["text"].index(stop)]
    assert by_text["output_ids"][: len(stopped["output_ids"])] == stopped["output_ids"]
    third = by_text["output_ids"][2]
    by_token = http.post(
        "/generate", json={"text": PROMPT, "sampling_params": GREEDY | {"stop_token_ids": [third]}}
    ).json()
    assert by_token["meta_info"]["finish_reason"] == {"type": "stop", "matched": third}
    assert by_token["output_ids"] == by_text["output_ids"][:3]


@pytest.mark.parametrize("name", ["flush_cache", "start_profile", "stop_profile"])
def test_what_is_done_to_an_engine_is_asked_elsewhere(http: httpx.Client, name: str) -> None:
    for answer in (http.post(f"/{name}"), http.get(f"/{name}")):
        assert answer.status_code == 404
        assert f"POST /engine/{name}." in answer.json()["error"]["message"]


def test_as_many_tokens_as_sglang_would_make(http: httpx.Client) -> None:
    assert (
        http.post("/generate", json={"text": PROMPT}).json()["meta_info"]["completion_tokens"]
        <= 128
    )
    ignoring = {"temperature": 0, "ignore_eos": True}
    assert (
        http.post("/generate", json={"text": PROMPT, "sampling_params": ignoring}).json()[
            "meta_info"
        ]["completion_tokens"]
        == 128
    )
    to_the_end = http.post(
        "/generate", json={"text": PROMPT, "sampling_params": ignoring | {"max_new_tokens": None}}
    ).json()["meta_info"]
    assert to_the_end["prompt_tokens"] + to_the_end["completion_tokens"] == 4096


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "text"),
        ({"text": "a", "input_ids": [1]}, "text"),
        ({"text": "a", "image_data": "x"}, "image_data"),  # the model reads text
        ({"text": "a", "video_data": "x"}, "video_data"),
        ({"text": "a", "return_hidden_states": True}, "return_hidden_states"),
        ({"text": "a", "custom_logit_processor": "x"}, "custom_logit_processor"),
        ({"text": "a", "sampling_params": {"beam_width": 2}}, "sampling_params.beam_width"),
        ({"text": "a", "sampling_params": {"max_new_tokens": 9999}}, "text"),
        (
            {"text": "a", "sampling_params": {"stop_token_ids": [10**9]}},
            "sampling_params.stop_token_ids",
        ),
        ({"text": ["a", "b"], "sampling_params": [{"n": 1}, {"n": 2}]}, "sampling_params"),
        ({"text": ["a", "b"], "rid": ["x"]}, "rid"),
        ({"input_ids": [10**6]}, "input_ids"),
        ({"input_ids": [1, [2]]}, "input_ids"),
        ({"text": ""}, "text"),
    ],
)
def test_what_cannot_be_honoured_is_a_400_that_names_it(
    http: httpx.Client, body: dict[str, Any], param: str
) -> None:
    answer = http.post("/generate", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert answer.json()["error"]["message"]


def test_what_a_client_sends_switched_off_is_no_matter(http: httpx.Client) -> None:
    off = {
        "return_hidden_states": False,
        "return_routed_experts": False,
        "image_data": None,
        "lora_path": None,
        "logprob_start_len": -1,
    }
    answer = http.post(
        "/generate",
        json={"text": PROMPT, "sampling_params": GREEDY, "return_logprob": False, **off},
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("tokens", "ignored"), [(1, None), (8, "sampling_params.stream_interval")])
def test_how_often_a_stream_is_told_is_no_reason_to_refuse_it(
    http: httpx.Client, tokens: int, ignored: str | None
) -> None:
    """SGLang's bench_one_batch_server says 1 in every request."""
    body = {"text": PROMPT, "sampling_params": GREEDY | {"stream_interval": tokens}}
    answer = http.post("/generate", json=body | {"stream": True})
    assert events_of(answer)[-1]["meta_info"]["completion_tokens"] == 6
    assert answer.headers.get("x-kvmesh-ignored") == ignored


@pytest.mark.parametrize("path", ["/tokenize", "/v1/tokenize"])
def test_tokens_of_a_prompt_and_back(http: httpx.Client, path: str) -> None:
    told = http.post(
        path, json={"model": "demo", "prompt": PROMPT, "return_token_strs": True}
    ).json()
    reference = Tokenizer.from_file(str(Path("workers/demo_model/kvmesh-demo/tokenizer.json")))
    encoding = reference.encode(PROMPT)
    assert told == {
        "count": len(encoding.ids),
        "tokens": encoding.ids,
        "max_model_len": 4096,
        "token_strs": encoding.tokens,
    }
    back = http.post(
        path.replace("tokenize", "detokenize"), json={"model": "demo", "tokens": encoding.ids}
    ).json()
    assert back == {"prompt": PROMPT, "text": PROMPT}


def test_tokens_of_several_prompts(http: httpx.Client) -> None:
    told = http.post("/tokenize", json={"prompt": [PROMPT, ""]}).json()
    assert told["count"] == [len(told["tokens"][0]), 0]
    assert http.post("/detokenize", json={"tokens": told["tokens"]}).json()["text"] == [PROMPT, ""]
    assert http.post("/detokenize", json={"tokens": []}).json()["prompt"] == ""


def test_tokens_of_messages_are_those_of_the_chat(
    http: httpx.Client, client: openai.OpenAI
) -> None:
    messages: Any = [{"role": "user", "content": "Hello"}]
    told = http.post(
        "/tokenize", json={"messages": messages, "chat_template_kwargs": {"enable_thinking": False}}
    ).json()
    chat = client.chat.completions.create(
        model="demo",
        messages=messages,
        max_tokens=1,
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    )
    assert chat.usage is not None
    assert told["count"] == chat.usage.prompt_tokens
    plain = http.post("/detokenize", json={"tokens": told["tokens"]}).json()["text"]
    special = http.post(
        "/detokenize", json={"tokens": told["tokens"], "skip_special_tokens": False}
    ).json()["text"]
    assert "Hello" in plain
    assert len(special) > len(plain)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "prompt"),
        ("/tokenize", {"messages": [{"role": "nobody", "content": "a"}]}, "messages[0].role"),
        ("/tokenize", {"prompt": "a " * 3_000_000}, "prompt"),
        ("/detokenize", {"tokens": [1] * 5000}, "tokens"),
        ("/detokenize", {"tokens": [1, [2]]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
    ],
)
def test_what_cannot_be_tokenized_is_a_400_that_names_it(
    http: httpx.Client, path: str, body: dict[str, Any], param: str
) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_pages_that_sglangs_tools_ask_for(http: httpx.Client) -> None:
    for path in ("/model_info", "/get_model_info"):
        told = http.get(path).json()
        assert told["served_model_name"] == "demo"
        # bench_serving has its tokenizer from there, unless it is told of another
        assert (Path(told["tokenizer_path"]) / "tokenizer.json").exists()
        assert told["model_path"] == told["tokenizer_path"]
    for path in ("/server_info", "/get_server_info"):
        told = http.get(path).json()
        assert told["context_length"] == 4096
        assert (Path(told["tokenizer_path"]) / "tokenizer.json").exists()
        states = told["internal_states"]
        assert len(states) == told["dp_size"] == states[0]["dp_size"]
        running = [state["effective_max_running_requests_per_dp"] for state in states]
        assert sum(running) == told["max_running_requests"]
    assert http.post("/tokenize", json={"model": "nobody", "prompt": "a"}).status_code == 404
