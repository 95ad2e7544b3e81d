"""What a server reads from the folder of the demo model that sees, without torch."""

import json
from hashlib import sha256
from pathlib import Path
from struct import pack, unpack
from typing import Any

import numpy as np
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from tests.demo_vision.drawing import draw
from tests.demo_vision.golden import chat_messages, golden_entries, golden_entry, picture_file
from tests.demo_vision.golden_prompts import PICTURES
from workers.demo_model import demo_model_dir

SIZE_BYTES_MAX = 12_000_000
VISION_START, PAD, VISION_END = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def folder() -> Path:
    return demo_model_dir("vision")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def template(folder: Path) -> Any:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    # Hugging Face's, which escapes nothing
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string((folder / "chat_template.jinja").read_text("utf-8"))


def test_the_folder_is_complete_and_small(folder: Path) -> None:
    files = {file.name: file.stat().st_size for file in folder.iterdir()}
    assert set(files) == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
        "preprocessor_config.json",
        "video_preprocessor_config.json",
    }
    assert sum(files.values()) <= SIZE_BYTES_MAX


def test_the_config_is_a_qwen3_vl_that_two_tensor_parallel_ranks_can_share(folder: Path) -> None:
    config = read_json(folder / "config.json")
    assert config["architectures"] == ["Qwen3VLForConditionalGeneration"]
    text, tower = config["text_config"], config["vision_config"]
    assert text["num_attention_heads"] % 2 == text["num_key_value_heads"] % 2 == 0
    assert tower["num_heads"] % 2 == 0
    assert tower["out_hidden_size"] == text["hidden_size"]


def test_the_weights_are_bfloat16_without_a_second_copy_of_the_embedding(folder: Path) -> None:
    with (folder / "model.safetensors").open("rb") as file:
        (header_bytes,) = unpack("<Q", file.read(8))
        header = json.loads(file.read(header_bytes))
    header.pop("__metadata__", None)
    assert {tensor["dtype"] for tensor in header.values()} == {"BF16"}
    assert "lm_head.weight" not in header


def test_pictures_are_processed_as_the_tower_is_shaped(folder: Path) -> None:
    tower = read_json(folder / "config.json")["vision_config"]
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        processing = read_json(folder / name)
        assert processing["processor_class"] == "Qwen3VLProcessor"
        assert processing["patch_size"] == tower["patch_size"]
        assert processing["merge_size"] == tower["spatial_merge_size"]
        assert processing["temporal_patch_size"] == tower["temporal_patch_size"]
    assert read_json(folder / "tokenizer_config.json")["processor_class"] == "Qwen3VLProcessor"


def test_tokens_agree_between_tokenizer_and_configurations(
    folder: Path, tokenizer: Tokenizer
) -> None:
    config = read_json(folder / "config.json")
    for field, token in (
        ("image_token_id", PAD),
        ("video_token_id", "<|video_pad|>"),
        ("vision_start_token_id", VISION_START),
        ("vision_end_token_id", VISION_END),
        ("eos_token_id", "<|im_end|>"),
    ):
        assert config[field] == tokenizer.token_to_id(token)
    ends = [tokenizer.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")]
    assert read_json(folder / "generation_config.json")["eos_token_id"] == ends
    assert tokenizer.get_vocab_size() <= config["text_config"]["vocab_size"]


def test_a_picture_is_one_placeholder_in_a_message_of_any_role(template: Any) -> None:
    one = VISION_START + PAD + VISION_END
    for part in ({"type": "image"}, {"type": "image_url", "image_url": {"url": "data:"}}):
        for role in ("system", "user", "assistant", "tool"):
            said = [{"role": "user", "content": "Hi"}, {"role": role, "content": [part, part]}]
            assert template.render(messages=said).count(one) == 2
    assert PAD not in template.render(messages=[{"role": "user", "content": "Hi"}])


def test_prompts_of_the_goldens_render_and_tokenize_to_the_recorded_ids(
    template: Any, tokenizer: Tokenizer
) -> None:
    for entry in golden_entries():
        for messages in (entry["messages"], chat_messages(entry)):
            text = template.render(
                messages=messages, tools=entry.get("tools"), add_generation_prompt=True
            )
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            assert (
                sha256(pack(f"<{len(ids)}I", *ids)).hexdigest() == entry["prompt_token_ids_sha256"]
            ), entry["name"]
        pictures = len(entry["pictures"])
        assert ids.count(tokenizer.token_to_id(PAD)) == pictures
        assert len(ids) - pictures + entry["image_tokens"] == entry["prompt_tokens"]
        assert tokenizer.decode(entry["token_ids"]) == entry["text"]


def test_goldens_cover_what_the_model_sees() -> None:
    names = [entry["name"] for entry in golden_entries()]
    assert len(set(names)) == len(names) >= 24
    kinds = {name.partition("-")[0] for name in names}
    assert {"see", "colour", "count", "side", "digit"} <= kinds
    swapped = [golden_entry(name)["text"] for name in ("two-pictures", "two-pictures-swapped")]
    assert swapped[0] != swapped[1]


def test_the_pictures_are_small_files_of_what_is_drawn() -> None:
    for name in {name for entry in golden_entries() for name in entry["pictures"]}:
        scene = PICTURES[name]
        file = picture_file(name).read_bytes()
        assert len(file) < 4_096
        assert unpack(">II", file[16:24]) == (scene.width, scene.height)
        assert draw(scene).dtype == np.uint8
