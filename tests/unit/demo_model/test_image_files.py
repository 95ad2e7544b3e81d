"""What lies in the folder of the demo model that draws, without torch."""

import json
from pathlib import Path
from struct import unpack
from typing import Any

import pytest
from tokenizers import Tokenizer

from tests.demo_image.golden_prompts import PROMPTS
from workers.demo_model import demo_model_dir

SIZE_BYTES_MAX = 20_000_000
PARTS = {
    "scheduler": "FlowMatchEulerDiscreteScheduler",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "T5EncoderModel",
    "tokenizer": "TokenizersBackend",
    "tokenizer_2": "TokenizersBackend",
    "transformer": "FluxTransformer2DModel",
    "vae": "AutoencoderKL",
}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def folder() -> Path:
    return demo_model_dir("image")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer_2" / "tokenizer.json"))


def test_the_folder_is_a_flux_in_the_layout_of_diffusers_and_small(folder: Path) -> None:
    index = read_json(folder / "model_index.json")
    assert index["_class_name"] == "FluxPipeline"
    named = {name: entry[1] for name, entry in index.items() if not name.startswith("_")}
    assert {name: kind for name, kind in named.items() if kind is not None} == PARTS
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {file.parent.name for file in files} == {folder.name, *PARTS}
    assert sum(file.stat().st_size for file in files) <= SIZE_BYTES_MAX


def test_the_weights_are_bfloat16(folder: Path) -> None:
    files = list(folder.glob("*/*.safetensors"))
    assert len(files) == 4
    for path in files:
        with path.open("rb") as file:
            (header_bytes,) = unpack("<Q", file.read(8))
            header = json.loads(file.read(header_bytes))
        header.pop("__metadata__", None)
        assert {tensor["dtype"] for tensor in header.values()} == {"BF16"}


def test_parts_fit_together(folder: Path) -> None:
    def config(part: str) -> Any:
        return read_json(folder / part / "config.json")

    transformer, vae, text = config("transformer"), config("vae"), config("text_encoder_2")
    assert transformer["in_channels"] == 4 * vae["latent_channels"]
    assert transformer["joint_attention_dim"] == text["d_model"]
    assert transformer["pooled_projection_dim"] == config("text_encoder")["hidden_size"]
    assert sum(transformer["axes_dims_rope"]) == transformer["attention_head_dim"]


def test_prompts_have_no_unknown_word_in_any_case(tokenizer: Tokenizer) -> None:
    unknown = tokenizer.token_to_id("<unk>")
    for wish in PROMPTS:
        for text in (wish.prompt, wish.prompt.upper()):
            ids = tokenizer.encode(text).ids
            assert unknown not in ids
            assert ids == tokenizer.encode(wish.prompt).ids
    assert unknown in tokenizer.encode("a red elephant").ids


def test_tokens_agree_between_tokenizers_and_configurations(
    folder: Path, tokenizer: Tokenizer
) -> None:
    for part, of in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")):
        words = Tokenizer.from_file(str(folder / of / "tokenizer.json"))
        config = read_json(folder / part / "config.json")
        assert config["eos_token_id"] == words.token_to_id("</s>") == words.encode("red").ids[-1]
        assert config["pad_token_id"] == words.token_to_id("<pad>")
        assert words.get_vocab_size() <= config["vocab_size"]
        assert words.get_vocab() == tokenizer.get_vocab()
