"""The whole path on real SGLang: the demo model's golden answers through the unmodified OpenAI
client, and what ends a request.
"""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import openai
import psutil
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.fleet.real_fleets import RealFleets
from tests.kit.fleet import Fleet

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "demo_model" / "golden.json").read_text()
)
CHATS = [entry for entry in GOLDEN if "messages" in entry]
SHORT = [entry for entry in CHATS if len(entry["token_ids"]) <= 100]
"""All but three, whose 400 tokens take longer than all others together."""
MODEL = "kvmesh-demo"

Call = tuple[str, dict[str, Any]]
Reading = tuple[str, str, list[Call], str | None]
"""Thinking, content, tool calls, finish reason."""


@pytest.fixture(scope="module")
def real(real_fleets: RealFleets) -> Fleet:
    """A frontend and one worker with real SGLang serving the demo model, as `make up` starts
    them.
    """
    return real_fleets.of(())


@pytest.fixture
def real_client(real: Fleet) -> Iterator[openai.OpenAI]:
    with real.client() as client:
        yield client


def _options(entry: dict[str, Any]) -> dict[str, Any]:
    extra = {"chat_template_kwargs": entry["template_kwargs"]} if "template_kwargs" in entry else {}
    tools = {"tools": entry["tools"]} if "tools" in entry else {}
    return {
        "model": MODEL,
        "messages": entry["messages"],
        "max_tokens": entry["max_tokens"],
        "temperature": 0,
        "extra_body": extra,
        **tools,
    }


def _read(entry: dict[str, Any]) -> Reading:
    """A golden text as its reader is told of it."""
    thinking, text = re.fullmatch(
        r"(?:<think>\n(.*?)\n</think>)?(.*)", entry["text"], flags=re.DOTALL
    ).groups("")  # type: ignore[union-attr]
    content, *calls = re.split(r"\s*<tool_call>\n(.*?)\n</tool_call>", text, flags=re.DOTALL)
    named = [(call["name"], call["arguments"]) for call in map(json.loads, calls[::2])]
    return thinking, content, named, "tool_calls" if named else entry["finish"]


def _joined_calls(chunks: list[ChatCompletionChunk]) -> list[Call]:
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for chunk in chunks:
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.function is not None
            names[call.index] = names.get(call.index, "") + (call.function.name or "")
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    return [(name, json.loads(arguments[index])) for index, name in names.items()]


async def test_the_demo_model_says_its_golden_texts(real: Fleet) -> None:
    """The long ones too where they are streamed, below."""

    async def chat(entry: dict[str, Any]) -> tuple[Reading, int]:
        answer = await client.chat.completions.create(**_options(entry))
        message = answer.choices[0].message
        calls = [
            (call.function.name, json.loads(call.function.arguments))
            for call in message.tool_calls or []
        ]
        thinking: str = getattr(message, "reasoning_content", None) or ""
        assert answer.usage is not None
        return (
            (thinking.strip(), message.content or "", calls, answer.choices[0].finish_reason),
            answer.usage.prompt_tokens,
        )

    async with real.async_client() as client:
        answers = await asyncio.gather(*(chat(entry) for entry in SHORT))
    assert answers == [(_read(entry), entry["prompt_tokens"]) for entry in SHORT]


@pytest.mark.parametrize(
    "choice",
    [
        {"parallel_tool_calls": False},
        {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
    ],
    ids=["one", "named"],
)
def test_one_call_where_one_is_wanted_though_the_model_goes_on(
    real_client: openai.OpenAI, choice: dict[str, Any]
) -> None:
    [entry] = [entry for entry in CHATS if entry["name"] == "tool-parallel"]
    _, _, [first, _], _ = _read(entry)
    whole = real_client.chat.completions.create(**_options(entry), **choice)
    [call] = whole.choices[0].message.tool_calls or []
    assert (
        call.function.name,
        json.loads(call.function.arguments),
        whole.choices[0].finish_reason,
    ) == (*first, "tool_calls")
    chunks = list(real_client.chat.completions.create(**_options(entry), **choice, stream=True))
    assert (_joined_calls(chunks), chunks[-1].choices[0].finish_reason) == ([first], "tool_calls")


async def test_streams_side_by_side_say_the_same(real: Fleet) -> None:
    async def chat(entry: dict[str, Any]) -> Reading:
        stream = await client.chat.completions.create(**_options(entry), stream=True)
        chunks = [chunk async for chunk in stream]
        thinking = "".join(
            getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks
        )
        content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        return thinking.strip(), content, _joined_calls(chunks), chunks[-1].choices[0].finish_reason

    async with real.async_client() as client:
        answers = await asyncio.gather(*(chat(entry) for entry in CHATS))
    assert answers == [_read(entry) for entry in CHATS]


def test_a_long_answer_comes_in_many_chunks(real_client: openai.OpenAI) -> None:
    entry = max(CHATS, key=lambda entry: len(entry["token_ids"]))
    asked = _options(entry) | {"max_tokens": 120, "stream_options": {"include_usage": True}}
    chunks = list(real_client.chat.completions.create(**asked, stream=True))
    assert len(chunks) > 20  # of 120 tokens, which a busy frontend merges
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 120


def test_a_stop_string_and_a_stop_token_end_real_text(real_client: openai.OpenAI) -> None:
    entry = next(entry for entry in CHATS if entry["name"] == "count-to-ten")
    answer = real_client.chat.completions.create(**_options(entry), stop=["5, 6"])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (
        entry["text"].partition("5, 6")[0],
        "stop",
    )
    options = _options(entry)
    options["extra_body"] = {"stop_token_ids": [entry["token_ids"][6]]}
    ended = real_client.chat.completions.create(**options).choices[0]
    assert (entry["text"].startswith(ended.message.content or ""), ended.finish_reason) == (
        True,
        "stop",
    )
    assert len(ended.message.content or "") < len(entry["text"])


def test_a_repeated_prompt_is_found_in_the_cache(real_client: openai.OpenAI) -> None:
    entry = max(CHATS, key=lambda entry: entry["prompt_tokens"])
    real_client.chat.completions.create(**_options(entry))
    usage = real_client.chat.completions.create(**_options(entry)).usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens_details.cached_tokens or 0) >= 16


def test_where_cached_tokens_were_is_told_as_sglangs_server_tells_it(
    real: Fleet, real_client: openai.OpenAI
) -> None:
    entry = max(CHATS, key=lambda entry: entry["prompt_tokens"])
    asked = _options(entry) | {"max_tokens": 4}
    asked["extra_body"] = asked["extra_body"] | {"return_cached_tokens_details": True}
    real_client.chat.completions.create(**asked)
    whole: Any = real_client.chat.completions.create(**asked).model_dump()
    found = whole["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert whole["sglext"] == {"cached_tokens_details": {"device": found, "host": 0}}
    *_, told = real_client.chat.completions.create(**asked, stream=True)
    assert (told.choices, told.model_dump()["sglext"]) == ([], whole["sglext"])
    prompt = {"text": "Of this prompt the engine finds pages. " * 8}
    body = prompt | {"sampling_params": {"max_new_tokens": 2}}
    first, again = (
        httpx.post(f"{real.url}/generate", json=body, timeout=60).json()["meta_info"]
        for _ in range(2)
    )
    assert (first["cached_tokens"], first["cached_tokens_details"]) == (0, None)
    assert again["cached_tokens"] >= 16
    assert again["cached_tokens_details"] == {"device": again["cached_tokens"], "host": 0}


def test_completions_take_raw_prompts(real_client: openai.OpenAI) -> None:
    prompt = "<|im_start|>user\nping<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    answer = real_client.completions.create(
        model=MODEL, prompt=[prompt, prompt], max_tokens=8, temperature=0, echo=True
    )
    assert len({choice.text for choice in answer.choices}) == 1
    assert "pong" in answer.choices[0].text


def test_what_the_engine_refuses_is_a_400_and_the_engine_lives(real_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        # fits the context, not the KV pool
        real_client.completions.create(model=MODEL, prompt=[7] * 20_000, max_tokens=1)
    assert raised.value.type == "invalid_request_error"
    assert (
        real_client.completions.create(model=MODEL, prompt="ping", max_tokens=2)
        .choices[0]
        .finish_reason
    )


def test_a_client_that_leaves_frees_the_engine(real: Fleet) -> None:
    body = json.dumps(
        {"model": MODEL, "prompt": "hi", "max_tokens": 8000, "ignore_eos": True, "stream": True}
    ).encode()
    with socket.create_connection(("127.0.0.1", real.http_port)) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
            + body
        )
        assert connection.recv(10)
    # SGLang's own figure, in the heartbeats, so that it is the engine that is idle and not only our
    # books.
    real.wait_until(lambda: _in_engine(real) == 0, "the engine is idle")


def _in_engine(real: Fleet) -> int:
    return sum(sum(worker["engine_requests"]) for worker in real.get("/health")[1]["workers"])


async def _ask(
    client: openai.AsyncOpenAI,
    name: str,
    ended: list[str],
    *,
    tokens: int,
    max_tokens: int,
    priority: int = 0,
) -> int:
    """Completion tokens of a fresh prompt of so many tokens; `ended` says who came first."""
    random = Random(name)
    answer = await client.completions.create(
        model=MODEL,
        prompt=[random.randrange(10, 1_000) for _ in range(tokens)],
        max_tokens=max_tokens,
        extra_body={"ignore_eos": True, "priority": priority},
    )
    ended.append(name)
    assert answer.usage is not None
    return answer.usage.completion_tokens


@pytest.mark.parametrize(("requests", "tokens"), [(128, 64), (32, 600)])
async def test_a_burst_is_served_whole(real: Fleet, requests: int, tokens: int) -> None:
    """The longer one is more than the cache of 16,384 tokens holds."""
    ended: list[str] = []
    async with real.async_client() as client:
        counts = await asyncio.gather(
            *(
                _ask(client, f"{tokens} {number}", ended, tokens=tokens, max_tokens=4)
                for number in range(requests)
            )
        )
    assert counts == [4] * requests


async def test_whoever_is_urgent_passes_those_who_wait_in_the_engine(real: Fleet) -> None:
    """The crowd is several prefill steps, and all of it is with the scheduler, which is stopped
    meanwhile, when the urgent one comes.
    """
    ended: list[str] = []
    [scheduler] = [
        child
        for child in psutil.Process(real.processes[1].popen.pid).children(recursive=True)
        if "scheduler" in child.name()
    ]

    async def sent(count: int) -> None:
        await asyncio.to_thread(real.wait_until, lambda: _sent(real) == count, f"{count} are sent")

    async with real.async_client() as client:

        def ask(name: str, priority: int = 0) -> asyncio.Task[int]:
            asked = _ask(client, name, ended, tokens=64, max_tokens=1, priority=priority)
            return asyncio.create_task(asked)

        scheduler.suspend()
        try:
            asked = [ask(f"crowd {number}") for number in range(256)]
            await sent(256)
            asked.append(ask("ordinary"))
            await sent(257)
            asked.append(ask("urgent", priority=9))
            await sent(258)
        finally:
            scheduler.resume()
        await asyncio.gather(*asked)
    assert ended.index("urgent") < ended.index("ordinary")
    assert ended.index("urgent") < 192


def _sent(real: Fleet) -> int:
    """Unfinished requests that the frontend has sent to its worker."""
    return sum(sum(worker["requests"]) for worker in real.get("/health")[1]["workers"])
