"""Answers held to schemas: what is found, what is let go, and that nothing holds up the loop or the
next answer.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from frontend.api.fields.grammars import grammar_of
from frontend.api.fields.parsing import BodyParser
from frontend.api.fields.promises import promise_of
from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.conforming import validator as validators
from frontend.conforming.promise import Promise
from frontend.conforming.validator import Validator
from frontend.inflight.choice import Choice
from frontend.text.output.gain import Gain
from protocol.errors import NotConforming
from protocol.generation import Finished, ToolCall
from protocol.process import program as programs
from protocol.process.program import Program

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "maxLength": 3},
        "b": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["a"],
}
TEXT = json.dumps(SCHEMA)
GOOD, BAD = '{"a": "xyz"}', '{"a": "", "b": [1, "2"]}'


def doubling(levels: int) -> str:
    """A schema whose validation takes twice as long with every level."""
    levels_ = {f"d{at}": {"anyOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(levels)}
    return json.dumps({"$ref": "#/$defs/d0", "$defs": levels_ | {f"d{levels}": {"const": 1}}})


def process_of(validator: Validator) -> Program | None:
    return validator._process  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
async def validator() -> AsyncIterator[Validator]:
    running = Validator()
    yield running
    await running.close()


@pytest.mark.parametrize(
    ("answer", "breach"),
    [
        (GOOD, None),
        (f"\n {GOOD} ", None),
        (BAD, "breaks 'type' at /b/1"),
        ("{}", "breaks 'required'"),
        ('{"a": "wxyz"}', "breaks 'maxLength' at /a"),
        ('{"a": "x"', "is no JSON"),
        ("", "is no JSON"),
        ('{"a": "\\ud83d"}', None),  # half a character: not for the library
        ("[" * 100_000, None),
    ],
)
async def test_what_is_found(validator: Validator, answer: str, breach: str | None) -> None:
    assert await validator.breach(TEXT, answer) == breach


@pytest.mark.parametrize(
    "schema",
    [
        '{"$ref": "http://127.0.0.1:9/x"}',
        '{"type": "nothing"}',
        '{"pattern": "(?=a)"}',
        '{"$ref": "#"}',
        "[",
        "[" * 100_000,
    ],
)
async def test_a_schema_that_the_library_does_not_take_is_held_by_the_grammar_alone(
    validator: Validator, schema: str
) -> None:
    assert await validator.breach(schema, GOOD) is None
    assert await validator.breach(TEXT, "{}") is not None


async def test_a_schema_without_end_is_given_up_and_the_next_answer_is_validated(
    validator: Validator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(validators, "CHECK_S_MAX", 0.2)
    caplog.set_level("INFO")
    endless, turns = doubling(60), 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    turning = asyncio.create_task(turn())
    assert await validator.breach(endless, "2") is None
    assert "takes too long" in caplog.text
    assert turns > 100  # the loop went on meanwhile
    turning.cancel()
    monkeypatch.setattr(validators, "CHECK_S_MAX", 20.0)
    assert await validator.breach(TEXT, BAD) is not None
    assert await validator.breach(endless, "2") is None  # it is remembered: no 20 seconds


async def test_who_leaves_takes_no_verdict_of_others_away(validator: Validator) -> None:
    leaving = asyncio.create_task(validator.breach(doubling(60), "2"))
    while process_of(validator) is None:
        await asyncio.sleep(0)
    leaving.cancel()
    answers = await asyncio.gather(
        *(validator.breach(TEXT, answer) for answer in (GOOD, BAD, GOOD))
    )
    assert answers == [None, "breaks 'type' at /b/1", None]


async def test_who_leaves_while_the_program_starts_leaves_no_process(validator: Validator) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def popen(_: str, theirs: socket.socket) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=theirs.fileno()))
        loop.call_soon_threadsafe(leaving.cancel)
        return started[0]

    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "_popen", popen)
        leaving = asyncio.create_task(validator.breach(TEXT, BAD))
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert [each.returncode for each in started] == [-signal.SIGKILL]
    assert await validator.breach(TEXT, BAD) is not None


async def test_a_program_that_died_is_started_again(validator: Validator) -> None:
    assert await validator.breach(TEXT, BAD) is not None
    process = process_of(validator)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    await process.gone()
    await validator.breach(TEXT, BAD)
    assert await validator.breach(TEXT, BAD) is not None


def choice(
    reason: str | None = "stop",
    *,
    matched_stop: str | None = None,
    matched_token_id: int | None = None,
    stop_ids: tuple[int, ...] = (),
) -> Choice:
    finished = None if reason is None else Finished("stop", 1, 1, matched_token_id=matched_token_id)
    sampling = SimpleNamespace(stop_token_ids=stop_ids)
    made = SimpleNamespace(index=0, finish_reason=reason, matched_stop=matched_stop)
    made.stream, made.request = (
        SimpleNamespace(finished=finished),
        SimpleNamespace(sampling=sampling),
    )
    return cast("Choice", made)


def chat(**fields: Any) -> ChatCompletionRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
    return BodyParser(ChatCompletionRequest).parse(json.dumps(body).encode())


def tool(name: str, **said: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA, **said}}


FORMAT = {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA}}


def promised(validator: Validator, request: ChatCompletionRequest) -> Promise | None:
    return promise_of(request, grammar_of(request), validator, "r")


@pytest.mark.parametrize(
    "request_",
    [
        chat(),
        chat(response_format={"type": "json_object"}),
        chat(tools=[tool("f")]),
        chat(tools=[tool("f", strict=True)], tool_choice="none"),
        chat(guided_regex="a+"),
        chat(response_format=FORMAT, separate_reasoning=False),
        chat(response_format=FORMAT, skip_special_tokens=False),
    ],
)
async def test_who_asks_for_no_schema_has_no_promise(
    validator: Validator, request_: ChatCompletionRequest
) -> None:
    assert promised(validator, request_) is None


@pytest.mark.parametrize(
    "request_",
    [
        chat(response_format=FORMAT),
        chat(structured_outputs={"json": SCHEMA}),
        chat(guided_json=TEXT),
        chat(json_schema=TEXT),
    ],
)
async def test_the_text_is_held_to_the_clients_own_schema(
    validator: Validator, request_: ChatCompletionRequest
) -> None:
    promise = promised(validator, request_)
    assert promise is not None
    await promise.follow([(choice(None), Gain(text=GOOD[:3])), (choice(), Gain(text=GOOD[3:]))])
    for cut_off in (
        choice("length"),
        choice("abort"),
        choice(matched_stop="x"),
        choice(matched_token_id=7, stop_ids=(7,)),
    ):
        await promise.follow([(cut_off, Gain(text=BAD))])
    with pytest.raises(NotConforming, match="the text"):
        await promise.follow([(choice(matched_token_id=7), Gain(text=BAD))])


def calls(arguments: str) -> Gain:
    return Gain(
        text="Let me see.", calls=[ToolCall(0, "i", "g", BAD), ToolCall(1, "j", "f", arguments)]
    )


@pytest.mark.parametrize(
    "request_",
    [
        chat(tools=[tool("f")], tool_choice="required"),
        chat(tools=[tool("f")], tool_choice={"type": "function", "function": {"name": "f"}}),
    ],
)
async def test_calls_are_held_where_they_are_forced(
    validator: Validator, request_: ChatCompletionRequest
) -> None:
    promise = promised(validator, request_)
    assert promise is not None
    await promise.follow([(choice("tool_calls"), calls(GOOD))])
    with pytest.raises(NotConforming, match="the call of 'f'"):
        await promise.follow([(choice("tool_calls"), calls(BAD))])


@pytest.mark.parametrize(
    "request_",
    [
        chat(tools=[tool("f", strict=True), tool("g")]),
        chat(tools=[tool("f", strict=True), tool("g")], response_format=FORMAT),
    ],
)
async def test_strict_calls_that_may_come_are_logged(
    validator: Validator, request_: ChatCompletionRequest, caplog: pytest.LogCaptureFixture
) -> None:
    promise = promised(validator, request_)
    assert promise is not None
    await promise.follow([(choice("tool_calls"), calls(GOOD))])
    assert not caplog.text
    await promise.follow([(choice("tool_calls"), calls(BAD))])
    assert "the call of 'f'" in caplog.text


async def test_a_stream_is_logged_and_goes_on(
    validator: Validator, caplog: pytest.LogCaptureFixture
) -> None:
    promise = promised(validator, chat(response_format=FORMAT, stream=True))
    assert promise is not None
    await promise.follow([(choice(), Gain(text=BAD))])
    while "does not conform" not in caplog.text:
        await asyncio.sleep(0)
