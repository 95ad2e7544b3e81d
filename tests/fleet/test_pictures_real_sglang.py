"""Pictures in prompts on real SGLang: three families that see, one worker each, in one mesh."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.demo_vision.golden import Entry, chat_messages, golden_entries, picture_file
from tests.fleet.pictures import data_url, picture
from tests.fleet.real_fleets import RealFleets
from tests.fleet.seeing import ASKED, FAMILIES, run, seeing_workers
from tests.fleet.test_kv_real_sglang import agree, settle
from tests.kit.browser import CHROMIUM, Browser
from tests.kit.fleet import Fleet
from tests.kit.status_page import ANSWERED, choose, opened
from tests.kit.status_page import ask as write

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]

NEW = 12
RED, BLUE = data_url(picture("red")), data_url(picture("blue", (140, 112)))
CHATS = [
    ["Nothing to see."],
    [RED, "What is it?"],
    [BLUE, "What is it?"],
    ["First", RED, "then", BLUE, "!"],
    ["First", BLUE, "then", RED, "!"],
]
HEADER = len("^assistant\n")
"""The template's head of an answer, a mark and a token a letter."""


@pytest.fixture(scope="module")
def real(real_fleets: RealFleets, seeing_models: dict[str, Path]) -> Fleet:
    return real_fleets.of(*seeing_workers(seeing_models))


@pytest.fixture(scope="module")
def outputs(seeing_models: dict[str, Path]) -> dict[str, Any]:
    """What transformers generates for all chats, by family."""
    folder = seeing_models[FAMILIES[0]].parent
    return json.loads(run("greedy", folder, NEW, given=json.dumps(CHATS)))


@pytest.fixture
def client(real: Fleet) -> Iterator[openai.OpenAI]:
    with real.client() as client:
        yield client


def content(parts: list[str]) -> list[dict[str, Any]]:
    return [
        {"type": "image_url", "image_url": {"url": part}}
        if part.startswith("data:")
        else {"type": "text", "text": part}
        for part in parts
    ]


def ask(client: openai.OpenAI, model: str, parts: list[str], **options: Any) -> Any:
    return client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": content(parts)}],  # type: ignore[misc]
        temperature=0,
        max_tokens=NEW,
        **options,
    )


@pytest.mark.parametrize("entry", golden_entries(), ids=lambda entry: entry["name"])
def test_the_demo_model_says_what_it_sees(client: openai.OpenAI, entry: Entry) -> None:
    answer = client.chat.completions.create(
        model="kvmesh-demo-vision",
        messages=chat_messages(entry),  # type: ignore[arg-type]
        tools=entry.get("tools") or openai.NOT_GIVEN,
        temperature=0,
        max_tokens=entry["max_tokens"],
        extra_body={"return_token_ids": True},
    )
    assert answer.choices[0].finish_reason in (entry["finish"], "tool_calls")
    *token_ids, _ = answer.choices[0].token_ids  # type: ignore[attr-defined]  # the end is one too
    assert token_ids == entry["token_ids"]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == entry["prompt_tokens"]
    told = answer.usage.prompt_tokens_details.model_dump()  # type: ignore[union-attr]
    assert (told.get("image_tokens") or 0) == entry["image_tokens"]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_status_page_is_told_what_is_seen(real: Fleet, tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        page = opened(browser, real)
        choose(page, "kvmesh-demo-vision")
        page.upload("#file", [picture_file("red-circle")])
        page.until("document.querySelector('.upload img')")
        write(page, "What do you see?")
        page.until(ANSWERED)
        write(page, "What colour is the circle?")  # which it saw before
        page.until("document.querySelectorAll('.message.assistant .meta').length === 2")
        page.picture(tmp_path / "seen.png")
        said = (
            "[...document.querySelectorAll('.message.assistant .text')].map((p) => p.textContent)"
        )
        assert page.value(said) == ["A red circle.", "The circle is red."]
        assert page.complaints() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_seen_equals_transformers(
    client: openai.OpenAI, outputs: dict[str, Any], family: str
) -> None:
    expected = outputs[family]
    assert len({tuple(ids) for ids, _ in expected}) == len(CHATS)  # or nothing would be proven
    for chat, (ids, prompt_tokens) in zip(CHATS, expected, strict=True):
        exact = {"return_token_ids": True, "ignore_eos": True}
        answer = ask(client, family, chat, extra_body=exact)
        assert answer.choices[0].token_ids == ids
        assert answer.usage.prompt_tokens == len(answer.prompt_token_ids) == prompt_tokens
        told = answer.usage.prompt_tokens_details.model_dump()
        pictures = [part for part in chat if part.startswith("data:")]
        assert bool(pictures) == ("image_tokens" in told)
        streamed = ask(client, family, chat, extra_body=exact, stream=True)
        assert [
            token for chunk in streamed for choice in chunk.choices for token in choice.token_ids
        ] == ids


def test_the_router_knows_what_the_engine_has_of_prompts_with_pictures(
    real: Fleet, client: openai.OpenAI
) -> None:
    """Each case: what is asked, behind those before it, and how much of it must be found.

    A page is 16 tokens; the red picture is 6 and the blue one 20; all else is a token a letter.
    """
    words, more = "a" * 40, "b" * 40
    salted = {"cache_salt": "mine"}
    cases: list[tuple[str, list[str], dict[str, str], int]] = [
        ("the first", [words, RED, more], {}, 0),
        ("the same again", [words, RED, more], {}, 96),
        ("the other picture", [words, BLUE, more], {}, 32),
        ("that again", [words, BLUE, more], {}, 112),
        ("two of them", ["t", RED, BLUE, words], {}, 0),
        ("both again", ["t", RED, BLUE, words], {}, 80),
        ("swapped", ["t", BLUE, RED, words], {}, 0),
        ("the first one, still there", [words, RED, more], {}, 96),
        ("under a salt", [words, RED, more], salted, 0),
        ("under it again", [words, RED, more], salted, 96),
    ]
    for name, parts, options, expected in cases:
        settle(real)
        answer = ask(client, "qwen2.5-vl", parts, extra_body={"nvext": ASKED, **options})
        told = answer.nvext["cached_tokens"]
        assert agree(told["predicted"], told["actual"], answer.usage.prompt_tokens), (name, told)
        assert (name, told["actual"]) == (name, expected)


def test_a_picture_of_an_earlier_turn_or_of_a_tool_is_seen_and_found_again(
    real: Fleet, client: openai.OpenAI
) -> None:
    def chat(messages: list[dict[str, Any]]) -> Any:
        settle(real)
        return client.chat.completions.create(
            model="qwen3-vl", messages=messages, temperature=0, max_tokens=NEW,  # type: ignore[arg-type]
            extra_body={"nvext": ASKED},
        )  # fmt: skip

    messages: list[dict[str, Any]] = [
        {"role": "system", "content": content(["You see.", RED])},
        {"role": "user", "content": content(["What is it?", BLUE])},
        {"role": "assistant", "content": "Two pictures."},
        {"role": "tool", "tool_call_id": "1", "content": content([RED, "drawn"])},
    ]
    first = chat(messages)
    assert first.usage.prompt_tokens_details.image_tokens == 6 + 16 + 6
    again = chat([*messages, {"role": "user", "content": "And now?"}])
    told = again.nvext["cached_tokens"]
    assert told["predicted"] == told["actual"] == (first.usage.prompt_tokens - HEADER) // 16 * 16


def test_the_other_dialects_see_the_same(client: openai.OpenAI, real: Fleet) -> None:
    wanted = ask(client, "qwen2-vl", [RED, "What is it?"])
    answer = client.responses.create(
        model="qwen2-vl",
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": RED, "detail": "auto"},
                    {"type": "input_text", "text": "What is it?"},
                ],
            }
        ],
        temperature=0,
        max_output_tokens=NEW,
    )
    assert answer.output_text == wanted.choices[0].message.content
    source = {"type": "base64", "media_type": "image/png", "data": RED.partition(",")[2]}
    blocks = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    body = {"model": "qwen2-vl", "messages": [{"role": "user", "content": blocks}]}
    with httpx.Client(base_url=real.url) as http:
        told = http.post("/v1/messages", json={**body, "max_tokens": NEW, "temperature": 0}).json()
        assert told["content"][0]["text"] == wanted.choices[0].message.content
        counted = http.post("/v1/messages/count_tokens", json=body).json()
        chat = {"model": "qwen2-vl", "messages": [
            {"role": "user", "content": content([RED, "What is it?"])}
        ]}  # fmt: skip
        tokens = http.post("/tokenize", json=chat).json()
    assert counted["input_tokens"] == tokens["count"] == wanted.usage.prompt_tokens


def test_what_cannot_be_seen_is_refused_by_its_place_and_the_worker_lives_on(
    client: openai.OpenAI,
) -> None:
    damaged = data_url(picture("red")[:90])
    typed = "<|vision_start|><|image_pad|><|vision_end|>"
    for parts, param in (
        (["x", damaged], "messages[0].content[1].image_url.url"),
        ([RED, damaged], "messages[0].content[1].image_url.url"),
        ([typed, RED], "messages"),
    ):
        with pytest.raises(openai.BadRequestError) as raised:
            ask(client, "qwen2.5-vl", parts)
        assert raised.value.param == param
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    with pytest.raises(openai.BadRequestError, match="no audio"):
        client.chat.completions.create(
            model="qwen2.5-vl",
            messages=[{"role": "user", "content": [sound]}],  # type: ignore[list-item,misc]
        )
    assert ask(client, "qwen2.5-vl", [RED, "x"]).usage.completion_tokens == NEW
