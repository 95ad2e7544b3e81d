"""What SGLang's server tests ask: every mixture of echo, scores, batches and choices; stops,
lengths, prefills, /generate, aborts.
"""

import itertools
import json
import threading
from typing import Any

import httpx
import openai
import pytest

from conformance.peers.streams import told_of

CHAT: Any = [{"role": "user", "content": "What is kvmesh?"}]
PROMPT = "The capital of France is"
GREEDY: Any = {"temperature": 0}
LONG = {"sampling_params": {"max_new_tokens": 2_000, "ignore_eos": True}}


@pytest.fixture(scope="module")
def prompt_ids(http: httpx.Client, model: str) -> list[int]:
    return http.post("/tokenize", json={"model": model, "prompt": PROMPT}).json()["tokens"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("as_ids", [False, True])
def test_every_mixture_of_echo_scores_batches_and_choices(
    client: openai.OpenAI, model: str, prompt_ids: list[int], as_ids: bool, stream: bool
) -> None:
    one: Any = prompt_ids if as_ids else PROMPT
    for echo, logprobs, batch, n in itertools.product((False, True), (None, 5), (1, 2), (1, 2)):
        options: Any = {
            "model": model,
            "max_tokens": 4,
            "echo": echo,
            "logprobs": logprobs,
            "n": n,
            **GREEDY,
        }
        prompt: Any = one if batch == 1 else [one] * batch
        if stream:
            told, usages = told_of(
                client.completions.create(
                    prompt=prompt, stream=True, stream_options={"include_usage": True}, **options
                )
            )
            texts, usage = [told[index].text for index in range(batch * n)], usages[-1]
            assert all(
                len(choice.reasons) == 1 and bool(choice.scored) == (logprobs is not None)
                for choice in told.values()
            )
        else:
            whole = client.completions.create(prompt=prompt, **options)
            texts, usage = [choice.text for choice in whole.choices], whole.usage
            assert all(
                (choice.logprobs is not None) == (logprobs is not None) for choice in whole.choices
            )
        assert len(texts) == batch * n
        assert all(text.startswith(PROMPT) == echo for text in texts)
        assert usage is not None
        assert usage.prompt_tokens == batch * len(prompt_ids)


@pytest.mark.parametrize("logprobs", [None, 5])
@pytest.mark.parametrize("n", [1, 2])
def test_a_chat_streams_its_role_first_and_each_choice_to_its_end(
    client: openai.OpenAI, model: str, logprobs: int | None, n: int
) -> None:
    options: Any = {
        "logprobs": logprobs is not None,
        **({"top_logprobs": logprobs} if logprobs else {}),
    }
    chunks = client.chat.completions.create(
        model=model,
        messages=CHAT,
        max_tokens=8,
        n=n,
        stream=True,
        stream_options={"include_usage": True},
        **GREEDY,
        **options,
    )
    told, usages = told_of(chunks)
    assert sorted(told) == list(range(n))
    assert all(
        (choice.roles[0], len(choice.reasons)) == ("assistant", 1) for choice in told.values()
    )
    assert usages[-1].completion_tokens > 0


@pytest.mark.parametrize(
    "bound",
    [
        {"regex": r"\{ \"name\": \"\w{1,9}\" \}"},
        {"ebnf": 'root ::= "{ \\"name\\": \\"" [a-z]+ "\\" }"'},
    ],
)
def test_grammars_of_sglangs_names(client: openai.OpenAI, model: str, bound: Any) -> None:
    answer = client.chat.completions.create(
        model=model, messages=CHAT, max_tokens=64, extra_body=bound, frequency_penalty=1, **GREEDY
    )
    if answer.choices[0].finish_reason == "stop":
        assert list(json.loads(answer.choices[0].message.content or "")) == ["name"]
    assert (answer.choices[0].message.content or "").startswith('{ "name": "')


def test_a_prefilled_answer_is_gone_on_with(client: openai.OpenAI, model: str) -> None:
    prefilled: Any = [*CHAT, {"role": "assistant", "content": "kvmesh is"}]
    extra = {"continue_final_message": True, "add_generation_prompt": False}
    answer = client.chat.completions.create(
        model=model, messages=prefilled, max_tokens=8, extra_body=extra, **GREEDY
    )
    assert not (answer.choices[0].message.content or "").startswith("kvmesh is")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0


def test_models_are_listed_and_found(client: openai.OpenAI, model: str) -> None:
    assert model in [each.id for each in client.models.list()]
    found = client.models.retrieve(model)
    assert isinstance(getattr(found, "max_model_len", None), int)
    assert (found.id, getattr(found, "root", None)) == (model, model)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("non-existent-model")


@pytest.mark.parametrize(
    "stop", [{"stop": " "}, {"extra_body": {"stop_regex": "[a-z]"}}], ids=["string", "pattern"]
)
def test_a_stop_ends_the_answer_and_is_not_in_it(
    client: openai.OpenAI, model: str, stop: Any
) -> None:
    answer = client.completions.create(
        model=model, prompt=PROMPT, max_tokens=64, **stop, **GREEDY
    ).choices[0]
    assert answer.finish_reason == "stop"
    assert " " not in answer.text or "stop" not in stop


def test_the_end_token_can_be_ignored(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=CHAT, max_tokens=60, extra_body={"ignore_eos": True}
    )
    assert answer.usage is not None
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 60)


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_too_long_is_refused_before_a_stream_begins(
    client: openai.OpenAI, model: str, stream: bool
) -> None:
    length: Any = getattr(client.models.retrieve(model), "max_model_len", 0)
    too_long: Any = [{"role": "user", "content": "hello " * (length + 1)}]
    for options in ({"messages": too_long}, {"messages": CHAT, "max_tokens": length + 1}):
        with pytest.raises(openai.BadRequestError, match="maximum context length"):
            client.chat.completions.create(model=model, stream=stream, **options)


def test_generate_by_ids_in_batches_with_scores(http: httpx.Client, prompt_ids: list[int]) -> None:
    sampling = {"temperature": 0, "max_new_tokens": 4, "n": 2, "ignore_eos": True}
    outputs = http.post(
        "/generate",
        json={"input_ids": [prompt_ids] * 2, "sampling_params": sampling, "return_logprob": True},
    ).json()
    assert len(outputs) == 4
    for output in outputs:
        info = output["meta_info"]
        assert (info["prompt_tokens"], info["completion_tokens"]) == (len(prompt_ids), 4)
        assert [score[1] for score in info["output_token_logprobs"]] == output["output_ids"]


@pytest.mark.parametrize(
    "page",
    ["/health_generate", "/model_info", "/get_model_info", "/server_info", "/get_server_info"],
)
def test_pages(http: httpx.Client, page: str) -> None:
    assert http.get(page).status_code == 200


def test_an_aborted_request_ends_with_that_reason(http: httpx.Client) -> None:
    with http.stream(
        "POST", "/generate", json={"text": PROMPT, "rid": "to-be-aborted", "stream": True, **LONG}
    ) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: {"))
        next(lines)
        assert http.post("/abort_request", json={"rid": "to-be-aborted"}).status_code == 200
        *_, last = lines
    assert json.loads(last.removeprefix("data: "))["meta_info"]["finish_reason"]["type"] == "abort"


def test_an_abort_of_nothing_is_no_error_and_one_of_all_is_refused(http: httpx.Client) -> None:
    assert http.post("/abort_request", json={"rid": "never heard of"}).status_code == 200
    assert http.post("/abort_request", json={"abort_all": True}).status_code == 400


def test_requests_at_once_do_not_disturb_each_other(client: openai.OpenAI, model: str) -> None:
    alone = (
        client.completions.create(model=model, prompt=PROMPT, max_tokens=16, **GREEDY)
        .choices[0]
        .text
    )
    texts: list[str] = []

    def ask() -> None:
        texts.append(
            client.completions.create(model=model, prompt=PROMPT, max_tokens=16, **GREEDY)
            .choices[0]
            .text
        )

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 8
    assert alone in texts  # batches of another size may round differently


def test_a_response_streams_its_events_in_order(client: openai.OpenAI, model: str) -> None:
    events = list(
        client.responses.create(
            model=model, input="What is it?", max_output_tokens=16, stream=True, temperature=0
        )
    )
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in ("response.completed", "response.incomplete")
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_a_response_before_that_is_not_kept_is_an_error(http: httpx.Client, model: str) -> None:
    answer = http.post(
        "/v1/responses", json={"model": model, "input": "x", "previous_response_id": "bad"}
    )
    assert answer.status_code in (400, 404)
    assert {"message", "type", "code"} <= set(answer.json()["error"])
