"""What vLLM's entrypoint tests ask: pages, log probabilities, streams and their usage, batches,
echo, structure, leaving clients.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from conformance.peers.streams import told_of

CHAT: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is kvmesh?"},
]
IDS = [5, 6, 7, 8, 9]
GREEDY: Any = {"temperature": 0}


@pytest.mark.parametrize(
    "page", ["/health", "/v1/models", "/version", "/metrics", "/tokenizer_info"]
)
def test_pages(http: httpx.Client, page: str) -> None:
    assert http.get(page).status_code == 200


def test_the_version_is_a_string(http: httpx.Client) -> None:
    assert re.fullmatch(r"\d+\.\d+.*", http.get("/version").json()["version"])


def test_a_form_is_no_request(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(
            model=model,
            messages=CHAT,
            extra_headers={"content-type": "application/x-www-form-urlencoded"},
            max_tokens=1,
        )


def test_usage_adds_up_for_text_and_for_ids(client: openai.OpenAI, model: str) -> None:
    for prompt in ("Hello, my name is", IDS):
        completion = client.completions.create(
            model=model, prompt=prompt, max_tokens=5, **GREEDY, extra_body={"ignore_eos": True}
        )
        usage = completion.usage
        assert usage is not None
        assert completion.choices[0].finish_reason == "length"
        assert (usage.completion_tokens, usage.total_tokens) == (5, usage.prompt_tokens + 5)
        assert isinstance(prompt, str) or usage.prompt_tokens == len(prompt)


@pytest.mark.parametrize("asked", [None, 0, 1, 5])
def test_log_probabilities_of_completions(
    client: openai.OpenAI, model: str, asked: int | None
) -> None:
    told = (
        client.completions.create(model=model, prompt=IDS, max_tokens=5, logprobs=asked, **GREEDY)
        .choices[0]
        .logprobs
    )
    if asked is None:
        assert told is None
    else:
        assert told is not None
        assert (
            len(told.tokens or ())
            == len(told.token_logprobs or ())
            == len(told.text_offset or ())
            > 0
        )
        assert all(max(asked, 1) <= len(top or ()) <= asked + 1 for top in told.top_logprobs or ())


@pytest.mark.parametrize("asked", [None, 0, 5, 20])
def test_log_probabilities_of_chats(client: openai.OpenAI, model: str, asked: int | None) -> None:
    options: Any = {} if asked is None else {"logprobs": True, "top_logprobs": asked}
    told = (
        client.chat.completions.create(
            model=model, messages=CHAT, max_tokens=5, **GREEDY, **options
        )
        .choices[0]
        .logprobs
    )
    if asked is None:
        assert told is None
    else:
        assert told is not None
        assert all(
            len(token.top_logprobs) == asked and token.logprob >= -9999
            for token in told.content or ()
        )


@pytest.mark.parametrize("stream", [False, True])
def test_too_many_log_probabilities_are_refused_and_the_server_lives(
    client: openai.OpenAI, model: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model=model, messages=CHAT, logprobs=True, top_logprobs=21, stream=stream
        )
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model=model, prompt=IDS, logprobs=21, stream=stream)
    assert client.completions.create(model=model, prompt=IDS, max_tokens=1).choices


@pytest.mark.parametrize("n", [1, 3])
def test_a_stream_says_what_the_whole_says_and_ends_each_choice_once(
    client: openai.OpenAI, model: str, n: int
) -> None:
    options: Any = {"model": model, "max_tokens": 10, "n": n, "seed": 42, **GREEDY}
    for ask, prompt in (
        (client.chat.completions.create, {"messages": CHAT}),
        (client.completions.create, {"prompt": "What is it?"}),
    ):
        whole = ask(**options, **prompt)
        told, _ = told_of(ask(**options, **prompt, stream=True))
        assert sorted(told) == [choice.index for choice in whole.choices] == list(range(n))
        for choice in whole.choices:
            text = choice.message.content if hasattr(choice, "message") else choice.text
            assert (told[choice.index].text, told[choice.index].reasons) == (
                text,
                [choice.finish_reason],
            )


@pytest.mark.parametrize(
    ("options", "everywhere", "at_the_end"),
    [
        ({}, False, False),
        ({"include_usage": False}, False, False),
        ({"include_usage": True}, False, True),
        ({"include_usage": True, "continuous_usage_stats": True}, True, True),
    ],
)
def test_usage_comes_where_it_was_asked_for(
    client: openai.OpenAI, model: str, options: Any, everywhere: bool, at_the_end: bool
) -> None:
    chunks = list(
        client.chat.completions.create(
            model=model, messages=CHAT, max_tokens=10, stream=True, stream_options=options, **GREEDY
        )
    )
    last = chunks.pop() if at_the_end else None
    assert all((chunk.usage is not None) == everywhere for chunk in chunks)
    if last is not None:
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens
    counts = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage]
    assert counts == sorted(counts)


def test_stream_options_without_a_stream_are_refused(client: openai.OpenAI, model: str) -> None:
    for options in ({"include_usage": True}, {"include_usage": None}):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(
                model=model, messages=CHAT, max_tokens=1, stream_options=options
            )  # type: ignore[arg-type]


@pytest.mark.parametrize("prompts", [["Hello, my name is"] * 2, [IDS] * 2], ids=["text", "ids"])
def test_equal_prompts_of_a_batch_have_equal_answers(
    client: openai.OpenAI, model: str, prompts: Any
) -> None:
    whole = client.completions.create(model=model, prompt=prompts, max_tokens=5, n=2, **GREEDY)
    assert len(whole.choices) == 4
    assert whole.choices[0].text == whole.choices[2].text
    told, _ = told_of(
        client.completions.create(model=model, prompt=prompts, max_tokens=5, stream=True, **GREEDY)
    )
    assert told[0].text == told[1].text == whole.choices[0].text


def test_echo_scores_the_prompt(client: openai.OpenAI, model: str) -> None:
    prompt = "Hello, my name is"
    choice = client.completions.create(
        model=model, prompt=prompt, max_tokens=5, echo=True, logprobs=1, **GREEDY
    ).choices[0]
    assert choice.text.startswith(prompt)
    assert choice.logprobs is not None
    assert (choice.logprobs.token_logprobs or [0])[0] is None
    assert all(top for top in (choice.logprobs.top_logprobs or ())[1:])


@pytest.mark.parametrize(
    "wrong",
    [
        {"guided_json": {"type": "object", "properties": {"foo": "bar"}}},
        {"guided_regex": "[.*"},
        {"guided_grammar": "root ::= nowhere"},
        {"guided_regex": {"1": "Python"}},
    ],
)
def test_structure_that_is_none_is_refused(client: openai.OpenAI, model: str, wrong: Any) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=model, messages=CHAT, max_tokens=5, extra_body=wrong)


def test_choices_expressions_and_objects_bind_the_answer(client: openai.OpenAI, model: str) -> None:
    def ask(**options: Any) -> str:
        return (
            client.chat.completions.create(
                model=model, messages=CHAT, max_tokens=60, **GREEDY, **options
            )
            .choices[0]
            .message.content
            or ""
        )

    assert ask(extra_body={"guided_choice": ["Rust", "Python"]}) in ("Rust", "Python")
    assert re.fullmatch(
        r"\d{1,3}(\.\d{1,3}){3}", ask(extra_body={"guided_regex": r"\d{1,3}(\.\d{1,3}){3}"})
    )
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["n"],
    }
    form: Any = {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {**schema, "additionalProperties": False}},
    }
    assert 1 <= json.loads(ask(response_format=form))["n"] <= 9


def test_text_in_parts_is_the_same_text(client: openai.OpenAI, model: str) -> None:
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": "What is kvmesh?"}]}]
    plain: Any = [{"role": "user", "content": "What is kvmesh?"}]
    answers = [
        client.chat.completions.create(model=model, messages=messages, max_tokens=8, **GREEDY)
        for messages in (parts, plain)
    ]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content


@pytest.mark.parametrize("seed", [-(2**63) - 1, 2**63])
def test_a_seed_beyond_64_bits_is_refused(client: openai.OpenAI, model: str, seed: int) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=model, messages=CHAT, max_tokens=1, seed=seed)


def test_a_bias_of_a_token_that_is_none_is_refused(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model=model, messages=CHAT, max_tokens=1, logit_bias={"99999999": 1}
        )


def test_a_chat_has_as_many_tokens_as_tokenize_says(
    client: openai.OpenAI, http: httpx.Client, model: str
) -> None:
    counted = http.post(
        "/tokenize", json={"model": model, "messages": CHAT, "return_token_strs": True}
    ).json()
    usage = client.chat.completions.create(model=model, messages=CHAT, max_tokens=1).usage
    assert usage is not None
    assert (
        usage.prompt_tokens
        == counted["count"]
        == len(counted["tokens"])
        == len(counted["token_strs"])
    )


def test_clients_that_give_up_leave_room_for_others(
    url: str, client: openai.OpenAI, model: str
) -> None:
    hasty = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=0.5)

    def leave() -> None:
        with pytest.raises(openai.APITimeoutError):
            hasty.chat.completions.create(
                model=model, messages=CHAT, max_tokens=1_000, extra_body={"min_tokens": 1_000}
            )

    with ThreadPoolExecutor(16) as pool:
        for left in [pool.submit(leave) for _ in range(32)]:
            left.result()
    assert (
        client.with_options(timeout=10)
        .chat.completions.create(model=model, messages=CHAT, max_tokens=5)
        .choices
    )


@pytest.mark.parametrize("version", ["", "/v1"])
def test_rerank_and_score_with_and_without_a_version(
    http: httpx.Client, embedding_model: str, version: str
) -> None:
    ranked = http.post(
        version + "/rerank",
        json={"model": embedding_model, "query": "a cat", "documents": ["tax law", "a kitten"]},
    )
    assert [result["index"] for result in ranked.json()["results"]] == [1, 0]
    scored = http.post(
        version + "/score",
        json={"model": embedding_model, "text_1": "a cat", "text_2": ["tax law", "a kitten"]},
    )
    assert [each["index"] for each in scored.json()["data"]] == [0, 1]
