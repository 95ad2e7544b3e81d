"""Fields that vLLM's and Dynamo's clients add to OpenAI's."""

from typing import Any

import openai
import pytest

ASK: Any = [{"role": "user", "content": "Tell me of the mesh."}]
CHAT: dict[str, Any] = {"model": "demo", "messages": ASK, "max_tokens": 6, "seed": 3}
COMPLETION: dict[str, Any] = {
    "model": "demo",
    "prompt": [[5, 6, 7], [8, 9]],
    "max_tokens": 5,
    "seed": 3,
    "n": 2,
}
IDS = {"return_token_ids": True}


def test_a_chat_tells_its_token_ids_whole_and_streamed(client: openai.OpenAI) -> None:
    whole: Any = client.chat.completions.create(**CHAT, extra_body=IDS).model_dump()
    assert len(whole["prompt_token_ids"]) == whole["usage"]["prompt_tokens"]
    assert len(whole["choices"][0]["token_ids"]) == 6
    chunks = [
        chunk.model_dump()
        for chunk in client.chat.completions.create(**CHAT, extra_body=IDS, stream=True)
    ]
    assert [chunk.get("prompt_token_ids") for chunk in chunks] == [
        whole["prompt_token_ids"],
        *[None] * (len(chunks) - 1),
    ]
    assert [id_ for chunk in chunks for id_ in chunk["choices"][0]["token_ids"]] == whole[
        "choices"
    ][0]["token_ids"]


def test_completions_tell_them_by_choice(client: openai.OpenAI) -> None:
    whole: Any = client.completions.create(**COMPLETION, extra_body=IDS).model_dump()["choices"]
    assert [choice["prompt_token_ids"] for choice in whole] == [
        [5, 6, 7],
        [5, 6, 7],
        [8, 9],
        [8, 9],
    ]
    streamed: list[list[int]] = [[], [], [], []]
    prompts: dict[int, list[int]] = {}
    for chunk in client.completions.create(**COMPLETION, extra_body=IDS, stream=True):
        (choice,) = chunk.model_dump()["choices"]
        streamed[choice["index"]] += choice["token_ids"]
        if "prompt_token_ids" in choice:
            assert choice["index"] not in prompts
            prompts[choice["index"]] = choice["prompt_token_ids"]
    assert streamed == [choice["token_ids"] for choice in whole]
    assert prompts == {0: [5, 6, 7], 1: [5, 6, 7], 2: [8, 9], 3: [8, 9]}


def test_prompt_logprobs_are_told_beside_those_of_the_answer(client: openai.OpenAI) -> None:
    asked: Any = {"prompt_logprobs": 2, "return_token_ids": True}
    chat: Any = client.chat.completions.create(
        **CHAT, logprobs=True, top_logprobs=1, extra_body=asked
    ).model_dump()
    first, *others = chat["prompt_logprobs"]
    assert first is None
    for token_id, entry in zip(chat["prompt_token_ids"][1:], others, strict=True):
        own = entry[str(token_id)]
        assert own.keys() == {"logprob", "rank", "decoded_token"}
        assert [each["rank"] for each in list(entry.values())[:2]] == [1, 2]
        assert 2 <= len(entry) <= 3
    assert {len(token["top_logprobs"]) for token in chat["choices"][0]["logprobs"]["content"]} == {
        1
    }
    alone: Any = client.chat.completions.create(
        **CHAT, extra_body={"prompt_logprobs": 0}
    ).model_dump()
    assert alone["choices"][0]["logprobs"] is None
    assert [len(entry) for entry in alone["prompt_logprobs"][1:]] == [1] * len(others)
    completion: Any = client.completions.create(
        **COMPLETION, extra_body={"prompt_logprobs": 1}
    ).model_dump()["choices"]
    assert [len(choice["prompt_logprobs"]) for choice in completion] == [3, 3, 2, 2]
    assert all(choice["logprobs"] is None for choice in completion)


@pytest.mark.parametrize(
    ("field", "value"),
    [("logprob_token_ids", [1]), ("token_ids_logprob", [1]), ("thinking_token_budget", 9)],
)
def test_what_cannot_be_told_or_bound_is_refused_by_name(
    client: openai.OpenAI, field: str, value: Any
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(**CHAT, extra_body={field: value})
    assert raised.value.param == field
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(**CHAT, extra_body={"nvext": {"max_thinking_tokens": 9}})
    assert raised.value.param == "nvext.max_thinking_tokens"
    with pytest.raises(openai.BadRequestError) as raised:
        list(client.chat.completions.create(**CHAT, stream=True, extra_body={"prompt_logprobs": 1}))
    assert raised.value.param == "prompt_logprobs"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_begins_with_the_text_that_it_goes_on_from(
    client: openai.OpenAI, stream: bool
) -> None:
    begun = [*ASK, {"role": "assistant", "content": "The mesh is"}]
    extra: Any = {"continue_final_message": True, "add_generation_prompt": False}

    def text(**fields: Any) -> str:
        answer: Any = client.chat.completions.create(
            **{**CHAT, "messages": begun}, stream=stream, extra_body=extra | fields
        )
        if not stream:
            return answer.choices[0].message.content
        return "".join(chunk.choices[0].delta.content or "" for chunk in answer)

    assert text(echo=True) == "The mesh is" + text()


def test_dynamos_name_of_the_templates_arguments_takes_effect(client: openai.OpenAI) -> None:
    def refused(**fields: Any) -> bool:
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(**CHAT, extra_body=fields)
        return "chat_template_kwargs" in (raised.value.param or "")

    assert refused(chat_template_args={"tokenize": True})
    assert refused(
        chat_template_args={"tokenize": True}, chat_template_kwargs={"enable_thinking": False}
    )
    assert client.chat.completions.create(
        **CHAT, extra_body={"nvext": {"annotations": ["request_id"]}}
    ).choices
