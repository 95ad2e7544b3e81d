"""Sounds in prompts on real SGLang: a tiny Qwen2-Audio."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.fleet.pictures import data_url, picture
from tests.fleet.real_fleets import RealFleets
from tests.fleet.seeing import ASKED
from tests.fleet.sounds import sound
from tests.fleet.test_kv_real_sglang import settle
from tests.kit.fleet import Fleet
from tests.kit.forks import run_with_sglang

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]

PROGRAM = Path(__file__).parents[1] / "sglang" / "tiny_audio.py"
NEW = 12
LOW, HIGH = data_url(sound(440), "audio/wav"), data_url(sound(1_200, 0.7), "audio/wav")
CHATS = [
    ["Silence."],
    [LOW, "What is it?"],
    [HIGH, "What is it?"],
    ["First", LOW, "then", HIGH],
    ["First", HIGH, "then", LOW],
]


def run(*argv: Any, given: str = "") -> str:
    ended = run_with_sglang(PROGRAM, *argv, given=given)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("hearing") / "hears"
    run("build", directory)
    return directory


@pytest.fixture(scope="module")
def real(real_fleets: RealFleets, model: Path) -> Fleet:
    options = ("--dtype", "float32", "--kv-block-size", "16", "--grammar-backend", "none")
    worker = ("--model-path", str(model), *options, "--max-total-tokens", "2048")
    return real_fleets.of(worker)


@pytest.fixture
def client(real: Fleet) -> Iterator[openai.OpenAI]:
    with real.client() as client:
        yield client


def heard(data: bytes, form: str = "wav") -> dict[str, Any]:
    told = {"data": base64.b64encode(data).decode(), "format": form}
    return {"type": "input_audio", "input_audio": told}


def ask(client: openai.OpenAI, parts: list[Any], **options: Any) -> Any:
    content = [
        each
        if isinstance(each, dict)
        else heard(base64.b64decode(each.partition(",")[2]))
        if each.startswith("data:")
        else {"type": "text", "text": each}
        for each in parts
    ]
    return client.chat.completions.create(
        model="hears",
        messages=[{"role": "user", "content": content}],
        temperature=0,
        max_tokens=NEW,
        **options,
    )


def test_what_is_heard_equals_transformers(client: openai.OpenAI, model: Path) -> None:
    expected = json.loads(run("greedy", model, NEW, given=json.dumps(CHATS)))
    assert len({tuple(ids) for ids, _ in expected}) == len(CHATS)  # or nothing would be proven
    for chat, (ids, prompt_tokens) in zip(CHATS, expected, strict=True):
        exact = {"return_token_ids": True, "ignore_eos": True}
        answer = ask(client, chat, extra_body=exact)
        assert answer.choices[0].token_ids == ids
        assert answer.usage.prompt_tokens == prompt_tokens
        told = answer.usage.prompt_tokens_details.audio_tokens or 0
        assert told == sum({LOW: 10, HIGH: 17}.get(each, 0) for each in chat)


def test_the_same_sound_is_found_again_and_no_other_is(real: Fleet, client: openai.OpenAI) -> None:
    words = "e" * 40
    for name, parts, expected in (
        ("the first", [words, LOW, words], 0),
        ("the same again", [words, LOW, words], 96),
        ("the other", [words, HIGH, words], 32),
        ("that again", [words, HIGH, words], 112),
    ):
        settle(real)
        answer = ask(client, parts, extra_body={"nvext": ASKED})
        told = answer.nvext["cached_tokens"]
        assert (name, told["actual"]) == (name, expected)
        assert told["predicted"] == min(32, expected)


@pytest.mark.parametrize(
    ("parts", "at", "field", "says"),
    [
        ([heard(sound(440)[:30]), "x"], 0, "input_audio.data", "damaged"),
        ([LOW, heard(b"RIFF\0\0\0\0WAVE" + b"x" * 50)], 1, "input_audio.data", "damaged"),
        ([heard(b"RIFF"), "x"], 0, "input_audio.data", "WAV, MP3"),
        ([heard(sound(440), "mp4"), "x"], 0, "input_audio", "wav, mp3"),
        ([heard(sound(440, 0)), "x"], 0, "input_audio.data", "empty"),
        ([{"type": "image_url", "image_url": {"url": data_url(picture("red"))}}], 0,
         "image_url.url", "text and audio, no image"),
    ],
)  # fmt: skip
def test_what_cannot_be_heard_is_refused_by_its_place(
    client: openai.OpenAI, parts: list[Any], at: int, field: str, says: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as raised:
        ask(client, parts)
    assert raised.value.param == f"messages[0].content[{at}].{field}"


def test_sounds_of_other_rates_and_channels_are_heard(client: openai.OpenAI) -> None:
    answer = ask(client, [heard(sound(440, 0.4, 44_100, 2)), "x"])
    assert answer.usage.prompt_tokens_details.audio_tokens == 10
    assert answer.usage.completion_tokens
