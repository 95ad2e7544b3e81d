"""`openai`'s completions."""

from typing import Any

import openai
import pytest

from conformance.clients.exact import CompletionAsSent, each_exact, exact

PROMPTS: list[Any] = ["one", ["one", "two"], [11, 12, 13], [[11, 12, 13], [14, 15]]]


@pytest.mark.parametrize("prompt", PROMPTS, ids=["text", "texts", "tokens", "lists of tokens"])
@pytest.mark.parametrize("stream", [False, True])
def test_prompts_of_every_kind(
    client: openai.OpenAI, model: str, prompt: Any, stream: bool
) -> None:
    count = len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1
    if stream:
        chunks = each_exact(
            client.completions.create(model=model, prompt=prompt, max_tokens=4, stream=True),
            CompletionAsSent,
        )
        ends = [
            choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason
        ]
    else:
        ends = [
            choice.index
            for choice in exact(
                client.completions.create(model=model, prompt=prompt, max_tokens=4)
            ).choices
        ]
    assert sorted(ends) == list(range(count))


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices_of_several_prompts(
    client: openai.OpenAI, model: str, stream: bool
) -> None:
    options: Any = {"model": model, "prompt": ["a", "b"], "n": 2, "max_tokens": 3}
    if stream:
        chunks = each_exact(
            client.completions.create(
                **options, stream=True, stream_options={"include_usage": True}
            ),
            CompletionAsSent,
        )
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens <= 12
        indexes = {choice.index for chunk in chunks for choice in chunk.choices}
    else:
        indexes = {choice.index for choice in exact(client.completions.create(**options)).choices}
    assert indexes == {0, 1, 2, 3}


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_with_offsets(client: openai.OpenAI, model: str, stream: bool) -> None:
    options: Any = {
        "model": model,
        "prompt": "kvmesh is",
        "max_tokens": 6,
        "logprobs": 2,
        "temperature": 0,
    }
    if stream:
        chunks = each_exact(client.completions.create(**options, stream=True), CompletionAsSent)
        text = "".join(chunk.choices[0].text for chunk in chunks)
        tokens = [
            token
            for chunk in chunks
            if chunk.choices[0].logprobs
            for token in chunk.choices[0].logprobs.tokens or []
        ]
    else:
        choice = exact(client.completions.create(**options)).choices[0]
        assert choice.logprobs is not None
        text, tokens = choice.text, choice.logprobs.tokens or []
        assert (
            len(tokens)
            == len(choice.logprobs.token_logprobs or [])
            == len(choice.logprobs.top_logprobs or [])
        )
        assert len(choice.logprobs.text_offset or []) == len(tokens)
    assert "".join(tokens).startswith(text)


def test_the_prompts_log_probabilities_come_with_echo(client: openai.OpenAI, model: str) -> None:
    answer = exact(
        client.completions.create(
            model=model, prompt="kvmesh is a server", max_tokens=1, echo=True, logprobs=1
        ),
        CompletionAsSent,
    )
    choice = answer.choices[0]
    assert choice.text.startswith("kvmesh is a server")
    assert choice.logprobs is not None
    assert (choice.logprobs.token_logprobs or [0])[0] is None
    assert answer.usage is not None
    assert len(choice.logprobs.tokens or []) == answer.usage.prompt_tokens + 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"best_of": 3}, "best_of"),
    ({"suffix": "end"}, "suffix"),
    ({"logprobs": 99}, "logprobs"),
]


@pytest.mark.parametrize(("options", "param"), BAD, ids=[param for _, param in BAD])
def test_what_is_not_done_is_refused(
    client: openai.OpenAI, model: str, options: Any, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.completions.create(model=model, prompt="x", max_tokens=2, **options)
    assert raised.value.param == param
