"""Workers that make the tokens themselves, on real SGLang: the frontend has neither tokenizer nor
template, and answers are the same.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from tests.fleet.bert_models import minilm_dir, reference
from tests.fleet.real_fleets import RealFleets
from tests.kit.fleet import Fleet
from workers.demo_model import demo_model_dir

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "demo_model" / "golden.json").read_text()
)
CHATS = [
    entry
    for entry in GOLDEN
    if "messages" in entry and "tools" not in entry and len(entry["token_ids"]) <= 100
]
"""All that are not long: those are said where the frontend tokenizes (test_real_sglang.py)."""
TOOLS = next(entry for entry in GOLDEN if entry["name"] == "tool-time")
PROMPTS = [entry for entry in GOLDEN if "prompt" in entry]
COUNT = next(entry for entry in CHATS if entry["name"] == "count-to-ten")
MODEL, VECTORS = "kvmesh-demo", "minilm"


def without_tokenizer_json(folder: Path) -> Path:
    """The demo model with the vocabulary and merges that SGLang can read, and frontends cannot."""
    folder.mkdir()
    for name in (
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "chat_template.jinja",
    ):
        (folder / name).symlink_to(demo_model_dir() / name)
    tokenizer = json.loads((demo_model_dir() / "tokenizer.json").read_bytes())
    (folder / "vocab.json").write_text(json.dumps(tokenizer["model"]["vocab"]))
    merges = (
        merge if isinstance(merge, str) else " ".join(merge)
        for merge in tokenizer["model"]["merges"]
    )
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    config = json.loads((demo_model_dir() / "tokenizer_config.json").read_bytes())
    config["tokenizer_class"] = "Qwen2Tokenizer"
    config["added_tokens_decoder"] = {token.pop("id"): token for token in tokenizer["added_tokens"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def fleet(real_fleets: RealFleets, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A frontend without files of any model, a worker that generates, and one that makes
    vectors.
    """
    folder = without_tokenizer_json(tmp_path_factory.mktemp("models") / MODEL)
    vectors = ("--model-path", str(minilm_dir()), "--served-model-name", VECTORS)
    return real_fleets.of(
        ("--model-path", str(folder), "--use-sglang-tokenizer", "--tool-call-parser", "qwen25"),
        (*vectors, "--embedding-worker", "--use-sglang-tokenizer"),
    )


@pytest.fixture
def client(fleet: Fleet) -> Iterator[openai.OpenAI]:
    with fleet.client() as client:
        yield client


def _options(entry: dict[str, Any]) -> dict[str, Any]:
    extra = {"chat_template_kwargs": entry["template_kwargs"]} if "template_kwargs" in entry else {}
    return {
        "model": MODEL,
        "messages": entry["messages"],
        "max_tokens": entry["max_tokens"],
        "temperature": 0,
        "extra_body": extra,
    }


def test_a_history_as_others_send_it_has_the_prompt_of_ours(client: openai.OpenAI) -> None:
    def prompt_tokens(*messages: Any) -> int:
        answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=2)
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    user, call = {"role": "user", "content": "hi"}, {"name": "f", "arguments": "{}"}
    calls = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "a", "type": "function", "function": call}],
    }
    cut = {
        "role": "assistant",
        "content": None,
        "function_call": call | {"arguments": '{"value": '},
    }
    ours = prompt_tokens(user, calls, {"role": "tool", "tool_call_id": "a", "content": "r"})
    assert (
        prompt_tokens(
            {**user, "role": "User"}, cut, {"role": "function", "name": "f", "content": "r"}
        )
        == ours
    )
    system = prompt_tokens({"role": "system", "content": "Be brief."}, user)
    assert (
        prompt_tokens({"role": "developer", "content": "Be brief."}, user)
        == system
        > prompt_tokens(user)
    )


def test_no_tokenizer_reaches_the_frontend(fleet: Fleet) -> None:
    files = [path for path in (fleet.directory / "cache").rglob("*") if path.is_file()]
    assert len(files) == 2  # the table of each model
    assert not any(b"added_tokens" in path.read_bytes() for path in files)


async def test_chats_say_what_they_say_where_the_frontend_tokenizes(fleet: Fleet) -> None:
    async def chat(entry: dict[str, Any]) -> tuple[str | None, str, int]:
        answer = await client.chat.completions.create(**_options(entry))
        assert answer.usage is not None
        [choice] = answer.choices
        return choice.message.content, choice.finish_reason, answer.usage.prompt_tokens

    async with fleet.async_client() as client:
        answers = await asyncio.gather(*(chat(entry) for entry in CHATS))
    assert answers == [(entry["text"], entry["finish"], entry["prompt_tokens"]) for entry in CHATS]


def test_a_stream_with_a_stop_string_says_the_same(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(**_options(COUNT), stop=["5, 6"], stream=True))
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        == COUNT["text"].partition("5, 6")[0]
    )
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_tools_are_called(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**_options(TOOLS), tools=TOOLS["tools"])
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert answer.choices[0].finish_reason == "tool_calls"
    assert calls[0].function.name in {tool["function"]["name"] for tool in TOOLS["tools"]}  # type: ignore[union-attr]
    assert isinstance(json.loads(calls[0].function.arguments), dict)  # type: ignore[union-attr]


def test_completions_of_text_and_of_ids_and_their_echo(client: openai.OpenAI) -> None:
    for entry in PROMPTS:
        options = {"model": MODEL, "max_tokens": entry["max_tokens"], "temperature": 0}
        answer = client.completions.create(prompt=entry["prompt"], echo=True, **options)
        assert answer.choices[0].text == entry["prompt"] + entry["text"]
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == entry["prompt_tokens"]
    ids = client.completions.create(
        model=MODEL, prompt=PROMPTS[0]["token_ids"], max_tokens=1, temperature=0, echo=True
    )
    assert ids.choices[0].text.startswith(PROMPTS[0]["text"])


def test_log_probabilities_name_their_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**_options(COUNT), logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    shown = b"".join(bytes(token.bytes or ()) for token in logprobs.content)
    assert shown.decode().removesuffix("<|im_end|>") == COUNT["text"]
    assert all(len(token.top_logprobs) == 2 for token in logprobs.content)


def test_a_repeated_chat_is_routed_to_what_is_cached(client: openai.OpenAI) -> None:
    entry = max(CHATS, key=lambda entry: entry["prompt_tokens"])
    client.chat.completions.create(**_options(entry))
    usage = client.chat.completions.create(**_options(entry)).usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens_details.cached_tokens or 0) >= 16


def test_a_prompt_that_does_not_fit_and_a_message_that_is_none_are_400(
    client: openai.OpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "many words " * 40_000}]
        )
    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user"}])  # type: ignore[typeddict-item]
    assert (raised.value.param or "").startswith("messages")


def test_vectors_are_those_of_the_reference(client: openai.OpenAI) -> None:
    texts = ["A man is eating food.", "Ünïcödé, 漢字 and 🙂 emoji", "x"]
    answer = client.embeddings.create(model=VECTORS, input=texts)
    wanted = np.array(reference("embed", minilm_dir(), given=texts))
    assert np.abs(np.array([row.embedding for row in answer.data]) - wanted).max() < 1e-3
