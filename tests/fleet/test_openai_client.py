"""The unmodified `openai` client against a frontend and two sim workers; its pydantic types
validate every answer.
"""

import asyncio
from typing import Any

import openai
import pytest
from tokenizers import Tokenizer

from tests.kit.fleet import Fleet
from workers.demo_model import demo_model_dir

MESSAGES: Any = [{"role": "user", "content": "What is kvmesh?"}]


def test_a_chat_is_answered_whole(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=12)
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "length"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "demo"
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (
        12,
        answer.usage.prompt_tokens + 12,
    )


def test_a_streamed_chat_says_what_the_whole_one_says(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=40)
    chunks = list(
        client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=40, stream=True)
    )
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        == whole.choices[0].message.content
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "length"
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_in_a_last_chunk_without_choices_when_asked_for(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="demo",
            messages=MESSAGES,
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_the_async_client_streams_many_chats_at_once(shared: Fleet) -> None:
    async def chat(number: int) -> str:
        stream = await client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": f"Question {number}"}],
            max_tokens=30,
            stream=True,
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async with shared.async_client() as client:
        together = await asyncio.gather(*(chat(number) for number in range(32)))
        alone = [await chat(number) for number in range(3)]
    assert together[:3] == alone
    assert len(set(together)) == 32


def test_completions_take_text_and_tokens_one_or_many(client: openai.OpenAI) -> None:
    prompts: list[Any] = ["one", ["one", "two"], [11, 12, 13], [[11, 12, 13], [14, 15]]]
    answers = [
        client.completions.create(model="demo", prompt=prompt, max_tokens=4) for prompt in prompts
    ]
    assert [len(answer.choices) for answer in answers] == [1, 2, 1, 2]
    assert answers[0].choices[0].text == answers[1].choices[0].text
    assert answers[2].choices[0].text == answers[3].choices[0].text
    assert answers[3].usage is not None
    assert answers[3].usage.prompt_tokens == 5
    assert [choice.index for choice in answers[3].choices] == [0, 1]


def test_completions_stop_after_sixteen_tokens_by_default(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="demo", prompt="one")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16


@pytest.mark.parametrize("stream", [False, True])
def test_echo_puts_the_prompt_before_the_completion(client: openai.OpenAI, stream: bool) -> None:
    plain = client.completions.create(model="demo", prompt=["hello there", "bye"], max_tokens=3)
    if stream:
        texts = ["", ""]
        for chunk in client.completions.create(
            model="demo", prompt=["hello there", "bye"], max_tokens=3, echo=True, stream=True
        ):
            texts[chunk.choices[0].index] += chunk.choices[0].text
    else:
        answer = client.completions.create(
            model="demo", prompt=["hello there", "bye"], max_tokens=3, echo=True
        )
        texts = [choice.text for choice in answer.choices]
    assert texts == ["hello there" + plain.choices[0].text, "bye" + plain.choices[1].text]


def test_a_text_is_echoed_as_it_came(client: openai.OpenAI) -> None:
    prompt = "  two spaces, e\u0301 in two characters, <|im_end|> and a tab\t "
    answer = client.completions.create(model="demo", prompt=prompt, max_tokens=1, echo=True)
    assert answer.choices[0].text.startswith(prompt)


def test_choices_of_a_seeded_request_differ_but_can_be_repeated(client: openai.OpenAI) -> None:
    answers = [
        client.completions.create(model="demo", prompt="seeded", n=3, seed=7, max_tokens=8)
        for _ in range(2)
    ]
    texts = [[choice.text for choice in answer.choices] for answer in answers]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == 3
    assert (
        client.completions.create(model="demo", prompt="seeded", seed=8, max_tokens=8)
        .choices[0]
        .text
        == texts[0][1]
    )


def test_cached_tokens_of_several_choices_are_no_more_than_the_prompt(
    client: openai.OpenAI,
) -> None:
    for _ in range(3):
        answer = client.completions.create(
            model="demo", prompt="the same words again and again " * 20, n=4, max_tokens=2
        )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens is not None
    assert 0 < answer.usage.prompt_tokens_details.cached_tokens <= answer.usage.prompt_tokens


def test_several_choices_come_with_their_indexes(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="demo", prompt=["a", "b"], n=3, max_tokens=2)
    assert [choice.index for choice in answer.choices] == list(range(6))
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_the_text_before_it(client: openai.OpenAI, stream: bool) -> None:
    full = (
        client.completions.create(model="demo", prompt="stop test", max_tokens=60).choices[0].text
    )
    stop = full[len(full) // 2 : len(full) // 2 + 6]
    expected = full[: full.index(stop)]
    if stream:
        chunks = list(
            client.completions.create(
                model="demo",
                prompt="stop test",
                max_tokens=60,
                stop=[stop, "never seen"],
                stream=True,
            )
        )
        text, reason = (
            "".join(chunk.choices[0].text for chunk in chunks),
            chunks[-1].choices[0].finish_reason,
        )
    else:
        choice = client.completions.create(
            model="demo", prompt="stop test", max_tokens=60, stop=stop
        ).choices[0]
        text, reason = choice.text, choice.finish_reason
    assert (text, reason) == (expected, "stop")


def test_tokens_behind_a_stop_string_are_not_counted(client: openai.OpenAI) -> None:
    full = (
        client.completions.create(model="demo", prompt="stop count", max_tokens=60).choices[0].text
    )
    stop = full[len(full) // 2 : len(full) // 2 + 6]
    ended = client.completions.create(model="demo", prompt="stop count", max_tokens=60, stop=stop)
    assert ended.usage is not None
    counts = range(1, ended.usage.completion_tokens + 1)
    assert [
        stop
        in client.completions.create(model="demo", prompt="stop count", max_tokens=count)
        .choices[0]
        .text
        for count in counts
    ] == [False] * (len(counts) - 1) + [True]


def test_a_stop_string_is_found_right_behind_min_tokens(client: openai.OpenAI) -> None:
    full = (
        client.completions.create(model="demo", prompt="stop late", max_tokens=60).choices[0].text
    )
    stop = full[-6:]
    ended = client.completions.create(
        model="demo", prompt="stop late", max_tokens=60, stop=stop, extra_body={"min_tokens": 20}
    )
    assert ended.choices[0].finish_reason == "stop"
    assert not ended.choices[0].text.endswith(stop)


def test_a_stop_token_ends_the_text_without_it(client: openai.OpenAI) -> None:
    full = (
        client.completions.create(model="demo", prompt="stop token", max_tokens=10).choices[0].text
    )
    tokenizer = Tokenizer.from_file(str(demo_model_dir() / "tokenizer.json"))
    texts = {
        token_id: tokenizer.decode([token_id]) for token_id in range(tokenizer.get_vocab_size())
    }
    first = [token_id for token_id, text in texts.items() if text and full.startswith(text)]
    ended = client.completions.create(
        model="demo", prompt="stop token", max_tokens=10, extra_body={"stop_token_ids": first}
    )
    assert (ended.choices[0].text, ended.choices[0].finish_reason) == ("", "stop")
    assert ended.usage is not None
    assert ended.usage.completion_tokens == 1


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").object == "model"
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("other")
    assert raised.value.code == "model_not_found"


def test_both_workers_get_work(shared: Fleet, client: openai.OpenAI) -> None:
    for number in range(20):
        client.completions.create(model="demo", prompt=f"spread {number}", max_tokens=1)
    status, health = shared.get("/health")
    assert status == 200
    assert len({worker["worker_id"] for worker in health["workers"]}) == 2
