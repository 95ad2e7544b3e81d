"""LangChain over its OpenAI integration."""

from typing import Any

import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from conformance.clients.trips import NO_LOOPS, ONE_CALL, City, Trip

TRIP = "Book a trip to Rome by train for three days."


@tool
def book_trip(city: City, by_train: bool) -> str:
    """Book a trip."""
    return f"{city} {by_train}"


@pytest.fixture(scope="module")
def chat(url: str, model: str) -> ChatOpenAI:
    return ChatOpenAI(
        model=model,
        base_url=f"{url}/v1",
        api_key="none",  # type: ignore[arg-type]
        max_completion_tokens=200,
        temperature=0,
        max_retries=0,
        timeout=60,
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    )


def test_invoke(chat: ChatOpenAI) -> None:
    answer = chat.invoke("What is kvmesh?", max_completion_tokens=16)
    assert answer.content
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] <= 16


def test_stream_adds_up(chat: ChatOpenAI) -> None:
    whole = chat.invoke("What is kvmesh?", max_completion_tokens=16)
    chunks = list(chat.stream("What is kvmesh?", max_completion_tokens=16))
    assert "".join(str(chunk.content) for chunk in chunks) == whole.content


def test_batch(chat: ChatOpenAI) -> None:
    assert len(chat.batch(["one", "two", "three"], max_completion_tokens=4)) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_bound_tools_are_called(chat: ChatOpenAI, stream: bool) -> None:
    bound = chat.bind_tools([book_trip], tool_choice="required").bind(**ONE_CALL)
    if stream:
        answer: Any = None
        for chunk in bound.stream(TRIP):
            answer = chunk if answer is None else answer + chunk
    else:
        answer = bound.invoke(TRIP)
    assert [call["name"] for call in answer.tool_calls][:1] == ["book_trip"]
    assert book_trip.invoke(answer.tool_calls[0]["args"])


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chat: ChatOpenAI, method: Any) -> None:
    steady = chat.model_copy(update=NO_LOOPS)
    assert isinstance(steady.with_structured_output(Trip, method=method).invoke(TRIP), Trip)


def test_log_probabilities(chat: ChatOpenAI) -> None:
    answer = chat.bind(logprobs=True, top_logprobs=2).invoke(
        "What is kvmesh?", max_completion_tokens=4
    )
    assert answer.response_metadata["logprobs"]["content"]


def test_embeddings(url: str, embedding_model: str) -> None:
    embeddings = OpenAIEmbeddings(
        model=embedding_model,
        base_url=f"{url}/v1",
        api_key="none",  # type: ignore[arg-type]
        check_embedding_ctx_length=False,
    )
    assert [len(vector) for vector in embeddings.embed_documents(["a cat", "a dog"])] == [384, 384]
    assert len(embeddings.embed_query("a cat")) == 384
