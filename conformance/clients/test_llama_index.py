"""LlamaIndex over its integration for OpenAI-like servers."""

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike

from conformance.clients.trips import NO_LOOPS, City, Trip

TRIP = "Book a trip to Rome by train for three days."


@pytest.fixture(scope="module")
def llm(url: str, model: str) -> OpenAILike:
    return OpenAILike(
        model=model,
        api_base=f"{url}/v1",
        api_key="none",
        is_chat_model=True,
        is_function_calling_model=True,
        should_use_structured_outputs=True,
        max_tokens=200,
        temperature=0,
        max_retries=0,
        timeout=60,
        additional_kwargs={"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
    )


def test_chat(llm: OpenAILike) -> None:
    assert llm.chat(
        [ChatMessage(role="user", content="What is kvmesh?")], max_tokens=16
    ).message.content


def test_stream_chat_adds_up(llm: OpenAILike) -> None:
    messages = [ChatMessage(role="user", content="What is kvmesh?")]
    pieces = [piece.delta or "" for piece in llm.stream_chat(messages, max_tokens=16)]
    assert "".join(pieces) == llm.chat(messages, max_tokens=16).message.content


def test_complete(llm: OpenAILike) -> None:
    plain = OpenAILike(
        model=llm.model,
        api_base=llm.api_base,
        api_key="none",
        is_chat_model=False,
        max_tokens=8,
        temperature=0,
    )
    whole = plain.complete("kvmesh is").text
    assert whole
    assert [piece.text for piece in plain.stream_complete("kvmesh is")][-1] == whole


def test_tools_are_called(llm: OpenAILike) -> None:
    def book_trip(city: City, by_train: bool) -> str:
        """Book a trip."""
        return f"{city} {by_train}"

    answer = llm.chat_with_tools(
        [FunctionTool.from_defaults(book_trip)],
        user_msg=TRIP,
        tool_required=True,
        allow_parallel_tool_calls=False,
        **NO_LOOPS,
    )
    calls = llm.get_tool_calls_from_response(answer)
    assert [call.tool_name for call in calls][:1] == ["book_trip"]
    assert set(calls[0].tool_kwargs) == {"city", "by_train"}


def test_structured_output(llm: OpenAILike) -> None:
    answer = llm.as_structured_llm(Trip).chat([ChatMessage(role="user", content=TRIP)], **NO_LOOPS)
    assert isinstance(answer.raw, Trip)


def test_embeddings(url: str, embedding_model: str) -> None:
    embedding = OpenAILikeEmbedding(
        model_name=embedding_model, api_base=f"{url}/v1", api_key="none"
    )
    assert [len(vector) for vector in embedding.get_text_embedding_batch(["a cat", "a dog"])] == [
        384,
        384,
    ]
