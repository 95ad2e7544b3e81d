"""Models whose workers tokenize: what they are asked, and that they make the text too."""

from pathlib import Path

import msgspec
import pytest

from frontend.api.fields.reading import reading_of
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.openai.chat import check_chat
from frontend.api.prompts.chats import chat_prompt as prompt_of
from frontend.models.served import ServedModel
from frontend.text.tokenizing.inspection import TokenizerUnusable
from frontend.text.tokenizing.worker_tokenizer import WorkerTokenizer
from protocol.errors import ContextOverflow, InvalidRequest
from protocol.membership import ModelCard
from protocol.replies import Tokenized
from protocol.requests import Tokenize
from protocol.text.pieces import PieceTable, table_of
from protocol.tokens import pack_tokens

CARD = ModelCard(
    name="m", context_length=64, vocab_size=8, eos_token_ids=[0], files=[], tokenizes=True
)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


class Small:
    """An exchange whose body is small."""

    async def in_proportion(self, work):
        return work()


class Worker:
    """Answers every question with three tokens and a stop."""

    def __init__(self) -> None:
        self.asked: list[Tokenize] = []

    async def ask(self, query: Tokenize) -> Tokenized:
        self.asked.append(query)
        return Tokenized(query.query_id, pack_tokens([1, 2, 3]), ["User:"])


def served(worker: Worker) -> ServedModel:
    table = table_of("byte_level", [b"<end>", b"caf", b"\xc3", b"\xa9"], [0])
    return ServedModel(CARD, WorkerTokenizer("m", table, worker.ask, lambda: "0" * 32), {})


def chat(**fields: object) -> ChatCompletionRequest:
    return msgspec.convert({**CHAT, **fields}, ChatCompletionRequest)


async def chat_prompt(
    exchange: Small, served: ServedModel, request: ChatCompletionRequest
) -> bytes:
    return (await prompt_of(exchange, None, served, request, ())).token_ids  # type: ignore[arg-type]


async def test_a_chat_is_asked_for_with_all_that_says_something_of_its_prompt() -> None:
    worker = Worker()
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    request = chat(
        tools=tools,
        tool_choice="auto",
        chat_template_kwargs={"enable_thinking": False},
        temperature=0.5,
        stop=["x"],
    )
    assert await chat_prompt(Small(), served(worker), request) == pack_tokens([1, 2, 3])
    (asked,) = worker.asked
    assert (asked.model, asked.text) == ("m", "")
    assert msgspec.json.decode(asked.chat) == {
        **CHAT,
        "tools": tools,
        "tool_choice": "auto",
        "chat_template_kwargs": {"enable_thinking": False},
    }


async def test_what_is_refused_without_the_worker_is_not_asked() -> None:
    worker = Worker()
    with pytest.raises(InvalidRequest, match="must not set 'messages'"):
        await chat_prompt(Small(), served(worker), chat(chat_template_kwargs={"messages": "x"}))
    with pytest.raises(ContextOverflow):
        await chat_prompt(
            Small(), served(worker), chat(messages=[{"role": "user", "content": "x" * 500_000}])
        )
    with pytest.raises(InvalidRequest):
        check_chat(chat(messages=[{"role": "user"}]))
    assert not worker.asked


async def test_a_text_is_asked_for_and_tokens_are_read_from_the_table() -> None:
    worker = Worker()
    model = served(worker)
    assert await model.encode_off_loop("hi", add_special_tokens=False) == pack_tokens([1, 2, 3])
    assert (worker.asked[0].text, worker.asked[0].add_special_tokens, worker.asked[0].chat) == (
        "hi",
        False,
        b"",
    )
    assert model.decode([1, 2, 3, 0, 99]) == "café"
    assert [model.token_bytes(token_id) for token_id in (0, 2, 99)] == [b"<end>", b"\xc3", b""]
    stream = model.new_detokenizer(skip_special_tokens=False)
    assert [stream.feed([token_id]) for token_id in (1, 2, 3, 0)] == ["caf", "", "é", "<end>"]


def test_workers_make_the_text_of_every_answer() -> None:
    completion = msgspec.convert(
        {"model": "m", "prompt": "hi", "stop": ["x"], "stream": True}, CompletionRequest
    )
    for request in (chat(stop=["x"], stream=True), completion):
        reading = reading_of(request, CARD, None)
        assert reading is not None
        assert (reading.chat, reading.stops, reading.whole) == (b"", ["x"], False)
        assert reading_of(request, msgspec.structs.replace(CARD, tokenizes=False), None) is None


@pytest.mark.parametrize("content", [b"", b"{}", msgspec.msgpack.encode(PieceTable("window"))])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token_pieces.msgpack"
    file.write_bytes(content)
    with pytest.raises(TokenizerUnusable) as refused:
        WorkerTokenizer.load("m", file, Worker().ask, lambda: "0" * 32)
    assert str(tmp_path) not in str(refused.value)
