"""Questions for tokens: answered by the engine's tokenizer, bounded, and what goes wrong told in
words.
"""

import asyncio
import threading
from pathlib import Path

import pytest

from protocol.errors import InvalidRequest
from protocol.process.start_error import StartError
from protocol.replies import Failed, Tokenized
from protocol.requests import Tokenize
from protocol.text.pieces import PIECES_FILE
from protocol.tokens import pack_tokens
from workers.mesh.model_card import build_card
from workers.mesh.tokenizing import UNANSWERED_MAX, Tokenizing

NOW_MS = 1_000.0


class Prompts:
    """Makes a token a character; waits at a gate for each text."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def of_text(self, text: str, *, add_special_tokens: bool) -> bytes:
        self.gate.wait(10)
        if text == "broken":
            raise RuntimeError("a defect")
        return pack_tokens([1] * add_special_tokens + [ord(char) for char in text])

    def of_chat(self, chat: bytes) -> tuple[bytes, list[str]]:
        if chat == b"{}":
            raise InvalidRequest("no messages", param="messages")
        return pack_tokens(list(chat)), ["User:"]


class Frontend:
    def __init__(self) -> None:
        self.answers: asyncio.Queue[Tokenized] = asyncio.Queue()

    def send(self, message: Tokenized) -> bool:
        self.answers.put_nowait(message)
        return True


def query(
    number: int, text: str = "", *, chat: bytes = b"", deadline_unix_ms: int = 2_000
) -> Tokenize:
    return Tokenize(f"{number:032x}", "m", deadline_unix_ms, text, chat=chat)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (query(1, "ab"), Tokenized(f"{1:032x}", pack_tokens([1, 97, 98]))),
        (query(2, chat=b"xy"), Tokenized(f"{2:032x}", pack_tokens(list(b"xy")), ["User:"])),
        (
            query(3, chat=b"{}"),
            Tokenized(f"{3:032x}", failed=Failed("invalid_value", "no messages", "messages")),
        ),
        (
            query(4, "broken"),
            Tokenized(
                f"{4:032x}",
                failed=Failed("engine_fault", "The engine's tokenizer failed on this prompt."),
            ),
        ),
        (
            query(5, "late", deadline_unix_ms=999),
            Tokenized(
                f"{5:032x}",
                failed=Failed("deadline_exceeded", "The prompt waited too long to be tokenized."),
            ),
        ),
    ],
)
async def test_an_answer_is_tokens_or_says_why_not(asked: Tokenize, answered: Tokenized) -> None:
    tokenizing, frontend = Tokenizing(Prompts(), unix_ms=lambda: NOW_MS), Frontend()
    tokenizing.take(frontend, asked)
    assert await frontend.answers.get() == answered
    tokenizing.close()


async def test_more_prompts_than_the_bound_are_refused_at_once_and_places_come_free() -> None:
    prompts, frontend = Prompts(), Frontend()
    tokenizing = Tokenizing(prompts, unix_ms=lambda: NOW_MS)
    prompts.gate.clear()
    for number in range(UNANSWERED_MAX + 1):
        tokenizing.take(frontend, query(number, "a"))
    refused = frontend.answers.get_nowait()
    assert refused.failed is not None
    assert (refused.query_id, refused.failed.code) == (f"{UNANSWERED_MAX:032x}", "overloaded")
    prompts.gate.set()
    answers = [await frontend.answers.get() for _ in range(UNANSWERED_MAX)]
    assert [answer.query_id for answer in answers] == [
        f"{number:032x}" for number in range(UNANSWERED_MAX)
    ]
    tokenizing.take(frontend, query(999, "b"))
    assert (await frontend.answers.get()).token_ids == pack_tokens([1, 98])
    tokenizing.close()


async def test_a_worker_that_does_not_tokenize_says_so() -> None:
    tokenizing, frontend = Tokenizing(None, unix_ms=lambda: NOW_MS), Frontend()
    tokenizing.take(frontend, query(1, "a"))
    refused = (await frontend.answers.get()).failed
    assert refused is not None
    assert refused.code == "engine_fault"
    tokenizing.close()


def test_a_model_that_frontends_cannot_tokenize_for_is_refused_unless_the_worker_does(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 8}')
    with pytest.raises(StartError, match=r"has no tokenizer\.json: .* --use-sglang-tokenizer"):
        build_card(tmp_path, name="m")
    pieces = tmp_path / "elsewhere.msgpack"
    pieces.write_bytes(b"table")
    card, files = build_card(tmp_path, name="m", pieces=pieces)
    assert card.tokenizes
    assert [file.name for file in card.files] == [PIECES_FILE]
    assert list(files.values()) == [pieces]
