"""What a server reads from the demo model's folder, without torch."""

import json
from hashlib import sha256
from pathlib import Path
from struct import pack, unpack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from workers.demo_model import demo_model_dir

SIZE_BYTES_MAX = 10_000_000


def read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(demo_model_dir() / "tokenizer.json"))


@pytest.fixture(scope="module")
def template(model_folder: Path) -> Any:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    # Hugging Face's, which escapes nothing
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string((model_folder / "chat_template.jinja").read_text("utf-8"))


def render(template: Any, entry: dict[str, Any]) -> str:
    known = entry.get("template_kwargs", {})
    return template.render(
        messages=entry["messages"], tools=entry.get("tools"), add_generation_prompt=True, **known
    )


def test_the_folder_is_complete_and_small(model_folder: Path) -> None:
    files = {file.name: file.stat().st_size for file in model_folder.iterdir()}
    assert set(files) == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
    }
    assert sum(files.values()) <= SIZE_BYTES_MAX


def test_the_config_is_a_qwen3_that_two_tensor_parallel_ranks_can_share(model_folder: Path) -> None:
    config = read_json(model_folder / "config.json")
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["num_attention_heads"] % 2 == 0
    assert config["num_key_value_heads"] % 2 == 0
    assert config["max_position_embeddings"] >= 4096


def test_the_weights_are_bfloat16_without_a_second_copy_of_the_embedding(
    model_folder: Path,
) -> None:
    with (model_folder / "model.safetensors").open("rb") as file:
        (header_bytes,) = unpack("<Q", file.read(8))
        header = json.loads(file.read(header_bytes))
    header.pop("__metadata__", None)
    assert {tensor["dtype"] for tensor in header.values()} == {"BF16"}
    assert "lm_head.weight" not in header


def test_end_tokens_agree_between_tokenizer_config_and_generation_config(
    model_folder: Path, tokenizer: Tokenizer
) -> None:
    ends = [tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")]
    assert read_json(model_folder / "generation_config.json")["eos_token_id"] == ends
    assert read_json(model_folder / "config.json")["eos_token_id"] == ends[0]
    assert read_json(model_folder / "tokenizer_config.json")["eos_token"] == "<|im_end|>"


def test_a_client_that_names_no_temperature_gets_nearly_greedy_answers(model_folder: Path) -> None:
    assert read_json(model_folder / "generation_config.json")["temperature"] <= 0.2


def test_only_control_tokens_vanish_from_decoded_text(tokenizer: Tokenizer) -> None:
    text = (
        "<|im_start|><think>a</think><tool_call>b</tool_call><tool_response>c</tool_response>"
        "<|im_end|><|endoftext|>"
    )
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert (
        tokenizer.decode(ids)
        == "<think>a</think><tool_call>b</tool_call><tool_response>c</tool_response>"
    )


@settings(max_examples=300)
@given(st.text())
def test_any_text_survives_the_tokenizer_up_to_its_normal_form(
    tokenizer: Tokenizer, text: str
) -> None:
    assert tokenizer.decode(
        tokenizer.encode(text).ids, skip_special_tokens=False
    ) == tokenizer.normalizer.normalize_str(text)


def test_prompts_of_the_goldens_render_and_tokenize_to_the_recorded_ids(
    golden: list[Any], template: Any, tokenizer: Tokenizer
) -> None:
    for entry in golden:
        text = entry["prompt"] if "prompt" in entry else render(template, entry)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert (
            sha256(pack(f"<{len(ids)}I", *ids)).hexdigest() == entry["prompt_token_ids_sha256"]
        ), entry["name"]
        assert tokenizer.decode(entry["token_ids"]) == entry["text"]


def test_goldens_cover_what_a_client_can_ask_for(golden: list[Any]) -> None:
    names = {entry["name"] for entry in golden}
    assert len(names) == len(golden) >= 36
    assert {
        "name",
        "tool-weather",
        "tool-parallel",
        "tool-think",
        "long-story",
        "long-count",
        "completion-kvmesh",
    } <= names
    by_name = {entry["name"]: entry for entry in golden}
    assert by_name["tool-parallel"]["text"].count("<tool_call>\n{") == 2
    assert by_name["think-unknown"]["text"].startswith("<think>\n")
    assert by_name["think-unknown"]["text"].endswith(by_name["unknown-capital"]["text"])
    assert len(by_name["long-story"]["token_ids"]) >= 300
    assert by_name["long-count-cut"]["finish"] == "length"


def test_thinking_is_off_unless_asked_for(template: Any) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    plain, off, on = (
        render(template, {"messages": messages, "template_kwargs": kwargs})
        for kwargs in ({}, {"enable_thinking": False}, {"enable_thinking": True})
    )
    assert plain == off == on + "<think>\n\n</think>\n\n"


def test_the_prompt_of_the_next_turn_extends_prompt_and_answer_of_this_one(template: Any) -> None:
    asked = [{"role": "user", "content": "Hi"}]
    answered = [
        *asked,
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Go on."},
    ]
    assert render(template, {"messages": answered}).startswith(
        render(template, {"messages": asked}) + "Hello!<|im_end|>\n"
    )


def test_reasoning_is_kept_after_the_last_question_and_dropped_before_it(template: Any) -> None:
    call = {
        "role": "assistant",
        "content": "",
        "reasoning_content": "Why",
        "tool_calls": [{"function": {"name": "f", "arguments": {}}}],
    }
    called = [{"role": "user", "content": "Hi"}, call, {"role": "tool", "content": "1"}]
    assert "<think>\nWhy\n</think>" in render(template, {"messages": called})
    assert "Why" not in render(
        template, {"messages": [*called, {"role": "user", "content": "And?"}]}
    )


def test_arguments_of_a_call_may_be_text_or_an_object(template: Any) -> None:
    def with_arguments(arguments: Any) -> str:
        call = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "f", "arguments": arguments}}],
        }
        return render(template, {"messages": [{"role": "user", "content": "Hi"}, call]})

    assert with_arguments('{"a": 1}') == with_arguments({"a": 1})
    assert (
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call><|im_end|>'
        in with_arguments({"a": 1})
    )
