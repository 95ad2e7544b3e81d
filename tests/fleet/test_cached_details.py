"""SGLang's `return_cached_tokens_details`, as clients of chats and completions see it."""

from typing import Any

import openai
import pytest

ASKED: Any = {"return_cached_tokens_details": True}
USAGE: Any = {"include_usage": True}


def asks(name: str) -> dict[str, Any]:
    """A chat of a prompt of its own, of several pages."""
    return {
        "model": "demo",
        "messages": [{"role": "user", "content": f"{name}. Tell me of the mesh. " * 20}],
        "max_tokens": 4,
    }


def cached(answer: dict[str, Any]) -> dict[str, int]:
    """What is to be told of an answer whose cached tokens were all in the device's memory."""
    return {"device": answer["usage"]["prompt_tokens_details"]["cached_tokens"], "host": 0}


@pytest.mark.parametrize("n", [1, 3])
def test_a_chat_tells_it_as_sglang_does(client: openai.OpenAI, n: int) -> None:
    chat = asks(f"chat {n}") | {"n": n, "extra_body": ASKED}
    chat["extra_body"] |= {"nvext": {"session_id": f"chat {n}"}}
    client.chat.completions.create(**chat)
    whole: Any = client.chat.completions.create(**chat).model_dump()
    assert whole["sglext"] == {"cached_tokens_details": cached(whole)}
    assert whole["sglext"]["cached_tokens_details"]["device"] >= 16
    *chunks, told, counts = (
        chunk.model_dump()
        for chunk in client.chat.completions.create(**chat, stream=True, stream_options=USAGE)
    )
    assert (told["choices"], told["usage"]) == ([], None)
    assert told["sglext"] == {"cached_tokens_details": cached(counts)}
    assert not any("sglext" in chunk for chunk in [*chunks, counts])


@pytest.mark.parametrize("n", [1, 3])
def test_completions_tell_it_with_their_last_chunks(client: openai.OpenAI, n: int) -> None:
    asked: Any = {
        "model": "demo",
        "prompt": f"completions {n}: Tell me of the mesh. " * 20,
        "max_tokens": 4,
        "n": n,
        "extra_body": ASKED | {"nvext": {"session_id": f"completions {n}"}},
    }
    client.completions.create(**asked)
    whole: Any = client.completions.create(**asked).model_dump()
    assert whole["sglext"] == {"cached_tokens_details": cached(whole)}
    *chunks, counts = (
        chunk.model_dump()
        for chunk in client.completions.create(**asked, stream=True, stream_options=USAGE)
    )
    for chunk in chunks:
        (choice,) = chunk["choices"]
        assert ("sglext" in chunk) == (choice["finish_reason"] is not None)
    assert chunks[-1]["sglext"] == {"cached_tokens_details": cached(counts)}
    assert "sglext" not in counts


def test_nothing_is_told_unasked_or_where_nothing_was_cached(
    client: openai.OpenAI,
) -> None:
    for extra in ({}, ASKED | {"cache_salt": "of its own"}):
        unseen = asks("unseen") | {"extra_body": extra}
        assert "sglext" not in client.chat.completions.create(**unseen).model_dump()
        for chunk in client.chat.completions.create(
            **unseen | {"messages": asks("new")["messages"]}, stream=True
        ):
            assert "sglext" not in chunk.model_dump()
