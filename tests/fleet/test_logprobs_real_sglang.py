"""Log probabilities, shared prefills and adapters on real SGLang: what clients are told, beside
what transformers computes.
"""

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from starter.ports import free_port
from tests.fault.system_pages import SystemPages
from tests.fleet.lora_adapter import write_adapter
from tests.fleet.real_fleets import RealFleets
from tests.fleet.test_adapters import post
from tests.kit.fleet import Fleet
from tests.kit.forks import run_with_sglang
from workers.demo_model import demo_model_dir

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]

MODEL = "kvmesh-demo"
END = "<|im_end|>"
NEAR = 1e-3


class Reference:
    """The demo model under transformers (tests/sglang/logprob_reference.py), and its tokenizer."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(demo_model_dir() / "tokenizer.json"))

    def logprobs(self, token_ids: list[int]) -> NDArray[np.float64]:
        """Of every token after the first: shape [n - 1, vocabulary], row i is what follows
        token i.
        """
        return np.array(self._asked(ids=token_ids))

    def prompt(self, messages: list[dict[str, Any]]) -> list[int]:
        """Token ids of a chat."""
        return self._asked(messages=messages)

    def ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, token_id: int) -> str:
        return self._tokenizer.decode([token_id], skip_special_tokens=False)

    def _asked(self, **question: Any) -> Any:
        done = run_with_sglang("-m", "tests.sglang.logprob_reference", given=json.dumps(question))
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


@pytest.fixture(scope="module")
def system() -> SystemPages:
    return SystemPages(free_port())


@pytest.fixture(scope="module")
def real(real_fleets: RealFleets, system: SystemPages) -> Fleet:
    """A frontend and one engine that takes adapters and has none yet."""
    lora = (
        *("--enable-lora", "--max-loras-per-batch", "2", "--max-lora-rank", "8"),
        *("--lora-target-modules", "q_proj", "k_proj", "v_proj"),
    )
    options = ("--dtype", "float32", "--dyn-tool-call-parser", "qwen25")
    return real_fleets.of((*lora, *options, "--system-port", str(system.port)))


@pytest.fixture
def client(real: Fleet) -> Iterator[openai.OpenAI]:
    with real.client() as client:
        yield client


def near(told: float | None, expected: Any) -> bool:
    return told is not None and math.isclose(told, float(expected), abs_tol=NEAR)


CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [
        {"role": "user", "content": "What is the capital of France? Say it with an emoji: 🦜 é"}
    ],
    "max_tokens": 24,
    "temperature": 0,
    "logprobs": True,
    "top_logprobs": 5,
}


def check_chat(content: list[Any], text: str, reference: Reference) -> None:
    """Each token's entry is what transformers computes, and the bytes of all are the text."""
    prompt = reference.prompt(CHAT["messages"])
    as_bytes = b"".join(bytes(entry.bytes) for entry in content)
    assert as_bytes.decode(errors="replace") == text
    output = reference.ids(text)
    assert [reference.decode(token_id) for token_id in output] == [entry.token for entry in content]
    rows = reference.logprobs(prompt + output)[len(prompt) - 1 :]
    for entry, token_id, row in zip(content, output, rows, strict=True):
        assert near(entry.logprob, row[token_id])
        best = np.argsort(-row)[:8].tolist()
        assert len(entry.top_logprobs) == 5
        assert all(
            near(other.logprob, row[token_id])
            for other, token_id in zip(entry.top_logprobs, best, strict=False)
        )
        likely = {reference.decode(other) for other in best}  # near ties may change places
        assert all(other.token in likely for other in entry.top_logprobs)
        assert entry.token == entry.top_logprobs[0].token  # greedy


def test_a_whole_chat_tells_what_transformers_computes(
    client: openai.OpenAI, reference: Reference
) -> None:
    choice = client.chat.completions.create(**CHAT).choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    check_chat(choice.logprobs.content, choice.message.content or "", reference)


def test_a_streamed_chat_tells_the_same(client: openai.OpenAI, reference: Reference) -> None:
    chunks = list(client.chat.completions.create(**CHAT, stream=True))
    choices = [choice for chunk in chunks for choice in chunk.choices]
    content = [
        entry
        for choice in choices
        if choice.logprobs is not None
        for entry in choice.logprobs.content or []
    ]
    check_chat(content, "".join(choice.delta.content or "" for choice in choices), reference)


def test_an_echoed_prompt_is_scored_whole(client: openai.OpenAI, reference: Reference) -> None:
    """As evaluation harnesses ask: nothing or little is generated, and the prompt's own log
    probabilities are what counts.
    """
    text = "The capital of France is Paris. Was ist das? Ça va: 你好 🦜"
    ids = reference.ids(text)
    rows = reference.logprobs(ids)
    for prompt in (text, ids):
        answer = client.completions.create(
            model=MODEL, prompt=prompt, max_tokens=0, echo=True, logprobs=3, temperature=0
        )
        choice, told = answer.choices[0], answer.choices[0].logprobs
        assert told is not None
        assert (choice.text, choice.finish_reason) == (text, "length")
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 0
        assert told.token_logprobs
        assert told.tokens
        assert told.text_offset
        assert told.top_logprobs
        assert told.tokens == [reference.decode(token_id) for token_id in ids]
        assert (told.token_logprobs[0], told.top_logprobs[0]) == (None, None)
        for value, top, token_id, row in zip(
            told.token_logprobs[1:], told.top_logprobs[1:], ids[1:], rows, strict=True
        ):
            assert near(value, row[token_id])
            assert near(max(top.values()), row.max())
            assert 1 <= len(top) <= 4
        assert all(
            text[at:].startswith(token)
            for at, token in zip(told.text_offset, told.tokens, strict=True)
            if "\ufffd" not in token
        )


def test_a_prompt_behind_which_the_model_ends_is_scored_whole_too(
    client: openai.OpenAI, reference: Reference
) -> None:
    """Evaluation harnesses leave out the last score, that of the token that is made: were there
    none of a token that ends the answer, they would leave out their own last one.
    """
    prompt = "<|im_start|>user\nping<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\npong"
    options: dict[str, Any] = {"echo": True, "logprobs": 1, "temperature": 0, "max_tokens": 20}
    answer = client.completions.create(model=MODEL, prompt=prompt, **options)
    choice, usage = answer.choices[0], answer.usage
    assert choice.finish_reason == "stop"
    assert choice.logprobs is not None
    assert choice.logprobs.token_logprobs is not None
    assert choice.logprobs.tokens is not None
    assert choice.logprobs.text_offset is not None
    assert usage is not None
    assert len(choice.logprobs.token_logprobs) == usage.total_tokens
    ids = reference.ids(choice.text) + reference.ids(choice.logprobs.tokens[-1])
    assert near(choice.logprobs.token_logprobs[-1], reference.logprobs(ids)[-1][ids[-1]])
    assert choice.logprobs.text_offset[-1] == len(choice.text)


def test_echo_and_output_are_told_together_and_alike_when_streamed(
    client: openai.OpenAI, reference: Reference
) -> None:
    options: dict[str, Any] = {
        "model": MODEL,
        "prompt": "The sky is",
        "max_tokens": 6,
        "echo": True,
        "logprobs": 2,
        "temperature": 0,
    }
    whole = client.completions.create(**options).choices[0]
    chunks = [chunk.choices[0] for chunk in client.completions.create(**options, stream=True)]
    assert whole.logprobs is not None
    for field in ("tokens", "token_logprobs", "text_offset", "top_logprobs"):
        streamed = [
            value
            for chunk in chunks
            if chunk.logprobs is not None
            for value in getattr(chunk.logprobs, field)
        ]
        if "logprobs" in field:
            assert len(streamed) == len(getattr(whole.logprobs, field))
        else:
            assert streamed == getattr(whole.logprobs, field)
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert "".join(whole.logprobs.tokens or []) == whole.text
    ids = reference.ids("The sky is")
    output = reference.ids(whole.text)[len(ids) :]
    rows = reference.logprobs(ids + output)
    values = (whole.logprobs.token_logprobs or [])[1:]
    assert all(
        near(value, row[token_id])
        for value, row, token_id in zip(values, rows, (ids + output)[1:], strict=True)
    )


def test_the_stop_token_is_told_and_nothing_behind_a_stop_string(client: openai.OpenAI) -> None:
    """As SGLang's server has it: as many scores as tokens were made and shown."""
    free = client.chat.completions.create(**CHAT | {"max_tokens": 200}).choices[0]
    assert free.finish_reason == "stop"
    assert free.logprobs is not None
    assert free.logprobs.content is not None
    pieces = [entry.token for entry in free.logprobs.content]
    assert "".join(pieces) == f"{free.message.content}{END}"
    stop = (free.message.content or "")[4:7]
    cut = client.chat.completions.create(**CHAT | {"max_tokens": 200, "stop": stop})
    told = cut.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    shown = "".join(entry.token for entry in told.content)
    assert shown.startswith(f"{cut.choices[0].message.content}{stop}")
    assert cut.usage is not None
    assert cut.usage.completion_tokens == len(told.content)
    assert not "".join(entry.token for entry in told.content[:-1]).endswith(stop)


def test_tokens_of_tool_calls_are_told_too(client: openai.OpenAI, reference: Reference) -> None:
    """The worker reads such answers; what its parser leaves out of the text was generated all the
    same.
    """
    golden = json.loads((Path(__file__).parents[1] / "demo_model" / "golden.json").read_text())
    [entry] = [entry for entry in golden if entry["name"] == "tool-weather"]
    options: dict[str, Any] = {
        "model": MODEL,
        "messages": entry["messages"],
        "tools": entry["tools"],
        "temperature": 0,
        "logprobs": True,
    }
    whole = client.chat.completions.create(**options).choices[0]
    assert whole.finish_reason == "tool_calls"
    assert whole.logprobs is not None
    content = whole.logprobs.content or []
    assert [each.token for each in content] == [
        reference.decode(token_id) for token_id in reference.ids(entry["text"] + END)
    ]
    choices = [chunk.choices[0] for chunk in client.chat.completions.create(**options, stream=True)]
    streamed = [
        each.token
        for choice in choices
        if choice.logprobs
        for each in choice.logprobs.content or []
    ]
    assert streamed == [each.token for each in content]


def test_tokens_may_be_named_by_id(client: openai.OpenAI, reference: Reference) -> None:
    extra = {"return_tokens_as_token_ids": True}
    choice = client.chat.completions.create(**CHAT, extra_body=extra).choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert [entry.token for entry in choice.logprobs.content] == [
        f"token_id:{id_}" for id_ in reference.ids(choice.message.content or "")
    ]


def test_a_stop_pattern_ends_the_text_behind_its_match(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {
        "model": MODEL,
        "prompt": "1 2 3 4 5 6 7",
        "max_tokens": 40,
        "temperature": 0,
    }
    free = client.completions.create(**options).choices[0].text
    vowel = next(at for at, char in enumerate(free) if char.isalnum())
    cut = client.completions.create(**options, extra_body={"stop_regex": "[A-Za-z0-9]"}).choices[0]
    assert cut.finish_reason == "stop"
    assert free.startswith(cut.text)
    assert any(char.isalnum() for char in cut.text[vowel:])
    plain = (
        client.completions.create(**options, extra_body={"stop_regex": free[5:8]}).choices[0]
        if free[5:8].isalnum()
        else None
    )
    assert plain is None or plain.text == free[: free.index(free[5:8])]


def test_eight_choices_compute_their_prompt_once(client: openai.OpenAI) -> None:
    """What each choice found cached, of a prompt that nobody has asked before."""
    prompt = random.Random(11).choices(range(10, 1900), k=400)
    options: dict[str, Any] = {
        "model": MODEL,
        "prompt": prompt,
        "max_tokens": 4,
        "n": 8,
        "stream": True,
    }
    found: dict[int, int] = {}
    for chunk in client.completions.create(
        **options, extra_body={"nvext": {"extra_fields": ["cached_tokens"]}}
    ):
        if chunk.choices[0].finish_reason:
            found[chunk.choices[0].index] = chunk.nvext["cached_tokens"]["actual"]  # type: ignore[attr-defined]
    assert sorted(found) == list(range(8))
    assert found.pop(0) == 0
    assert all(tokens >= 384 for tokens in found.values()), found


def test_every_chunk_may_tell_the_counts_so_far(client: openai.OpenAI) -> None:
    usage = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(client.chat.completions.create(**CHAT, stream=True, stream_options=usage))  # type: ignore[call-overload]
    counts = [chunk.usage.completion_tokens for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[0] >= 1
    assert chunks[-1].choices == []


def test_an_adapter_comes_and_goes_at_run_time(
    real: Fleet, client: openai.OpenAI, system: SystemPages, tmp_path: Path
) -> None:
    path = write_adapter(tmp_path / "poet", 3)

    def say(model: str) -> str:
        return (
            client.completions.create(
                model=model, prompt="The sky is", max_tokens=12, temperature=0
            )
            .choices[0]
            .text
        )

    plain = say(MODEL)
    status, answer = post(
        system, "/engine/load_lora_adapter", {"lora_name": "poet", "lora_path": str(path)}
    )
    assert (status, answer.get("loaded_adapters")) == (200, ["poet"]), answer
    real.wait_until(
        lambda: "poet" in json.dumps(real.get("/v1/models")[1]),
        "the frontend has heard of the adapter",
    )
    assert {model["id"]: model["parent"] for model in real.get("/v1/models")[1]["data"]} == {
        MODEL: None,
        "poet": MODEL,
    }
    poetry = say("poet")
    assert poetry != plain
    assert say(f"{MODEL}:poet") == poetry
    assert say(MODEL) == plain
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "adapter_config.json").write_text(
        json.dumps({"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "peft_type": "LORA"})
    )
    status, answer = post(
        system, "/engine/load_lora_adapter", {"lora_name": "broken", "lora_path": str(broken)}
    )
    assert (status, answer["code"]) == (400, "invalid_value")
    assert str(tmp_path) not in answer["message"]
    assert post(system, "/engine/unload_lora_adapter", {"lora_name": "poet"})[0] == 200
    real.wait_until(
        lambda: "poet" not in json.dumps(real.get("/v1/models")[1]),
        "the frontend has forgotten the adapter",
    )
    with pytest.raises(openai.NotFoundError):
        say("poet")
    assert say(MODEL) == plain
