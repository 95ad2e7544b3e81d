"""Routes that no client library speaks: rerank and score, and SGLang's own."""

import itertools
import json
from typing import Any

import httpx
import pytest

DOCUMENTS = ["income tax law", "a young cat", "a kitten"]


def post(http: httpx.Client, path: str, **body: Any) -> Any:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_rerank_puts_the_best_first(http: httpx.Client, embedding_model: str) -> None:
    answer = post(
        http, "/v1/rerank", model=embedding_model, query="a cat", documents=DOCUMENTS, top_n=2
    )
    assert {result["index"] for result in answer["results"]} == {1, 2}
    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)


def test_score_gives_a_number_for_each_pair(http: httpx.Client, embedding_model: str) -> None:
    answer = post(http, "/v1/score", model=embedding_model, text_1="a cat", text_2=DOCUMENTS)
    scores = [each["score"] for each in answer["data"]]
    assert len(scores) == 3
    assert min(scores) == scores[0]


def test_tokens_there_and_back(http: httpx.Client, model: str) -> None:
    tokens = post(
        http, "/tokenize", model=model, prompt="kvmesh is a server", add_special_tokens=False
    )["tokens"]
    assert tokens
    assert post(http, "/detokenize", model=model, tokens=tokens)["text"] == "kvmesh is a server"


def test_generate_whole(http: httpx.Client) -> None:
    answer = post(
        http, "/generate", text="kvmesh is", sampling_params={"temperature": 0, "max_new_tokens": 8}
    )
    assert answer["text"]
    assert answer["meta_info"]["completion_tokens"] <= 8
    assert answer["meta_info"]["finish_reason"]["type"] in ("length", "stop")


def test_generate_several(http: httpx.Client) -> None:
    answers = post(
        http,
        "/generate",
        text=["one", "two"],
        sampling_params={"temperature": 0, "max_new_tokens": 4, "n": 1},
    )
    assert len(answers) == 2


def test_generate_streamed_repeats_the_text_so_far(http: httpx.Client) -> None:
    body = {
        "text": "kvmesh is",
        "sampling_params": {"temperature": 0, "max_new_tokens": 8},
        "stream": True,
    }
    with http.stream("POST", "/generate", json=body) as answer:
        events = [
            line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")
        ]
    assert events[-1] == "[DONE]"
    texts = [json.loads(event)["text"] for event in events[:-1]]
    assert all(after.startswith(before) for before, after in itertools.pairwise(texts))
    whole = post(
        http, "/generate", text="kvmesh is", sampling_params={"temperature": 0, "max_new_tokens": 8}
    )
    assert texts[-1] == whole["text"]


def test_generate_with_log_probabilities(http: httpx.Client) -> None:
    answer = post(
        http,
        "/generate",
        text="kvmesh is",
        sampling_params={"max_new_tokens": 4},
        return_logprob=True,
        logprob_start_len=0,
        top_logprobs_num=2,
    )
    assert (
        len(answer["meta_info"]["output_token_logprobs"])
        == answer["meta_info"]["completion_tokens"]
    )


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/responses",
        "/generate",
    ],
)
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'"text"', b'{"model": 3}', b"\xff"])
def test_a_body_that_is_none_is_said_to_be_wrong(
    http: httpx.Client, path: str, body: bytes
) -> None:
    answer = http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]
