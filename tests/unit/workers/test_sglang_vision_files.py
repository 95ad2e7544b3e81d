"""Which part of a model sees, by its files; and how pictures are put into batches."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workers.sglang.encode_batches import batches
from workers.sglang.vision_files import encoder_name

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "text_config": {"hidden_size": 64, "rope_theta": 1.0},
    "vision_config": {"depth": 2, "hidden_size": 32},
}


def header(tensors: dict[str, Any], weights: bytes) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text + weights


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, **config: Any) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps({**CONFIG, **config}))
        (directory / "preprocessor_config.json").write_text("{}")
        (directory / "model.safetensors").write_bytes(header({"visual": {"dtype": "F32"}}, b"1"))
        return directory

    return make


def test_models_whose_files_say_the_same_have_one_encoder(model: Callable[..., Path]) -> None:
    one, other = model("one"), model("other", text_config={"hidden_size": 64, "rope_theta": 2.0})
    assert encoder_name(one) == encoder_name(other)
    assert len(encoder_name(one)) == 16
    assert int(encoder_name(one), 16)
    (other / "model.safetensors").write_bytes(header({"visual": {"dtype": "F32"}}, b"2"))
    assert encoder_name(one) == encoder_name(other)  # by its header: weights are not read


def test_whatever_changes_vectors_changes_the_name(model: Callable[..., Path]) -> None:
    names = {
        encoder_name(model("as it is")),
        encoder_name(model("other architecture", architectures=["Qwen2VL"])),
        encoder_name(model("deeper", vision_config={"depth": 3, "hidden_size": 32})),
        encoder_name(model("wider", text_config={"hidden_size": 128})),
    }
    prepared, indexed, typed = model("prepared"), model("indexed"), model("typed")
    (prepared / "preprocessor_config.json").write_text('{"patch_size": 16}')
    (indexed / "model.safetensors.index.json").write_text("{}")
    (typed / "model.safetensors").write_bytes(header({"visual": {"dtype": "F16"}}, b"1"))
    names |= {encoder_name(each) for each in (prepared, indexed, typed)}
    assert len(names) == 7


def test_a_model_of_text_has_no_encoder(model: Callable[..., Path], tmp_path: Path) -> None:
    assert encoder_name(model("text", vision_config=None)) == ""
    assert encoder_name(tmp_path / "nowhere") == ""


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([], []),
        ([5], [[0]]),
        ([99], [[0]]),
        ([5, 5], [[0, 1]]),
        ([5, 6], [[0], [1]]),
        ([99, 1, 9, 1], [[0], [1, 2], [3]]),
    ],
)
def test_a_batch_is_bounded_and_no_picture_is_left_out(
    counts: list[int], expected: list[list[int]]
) -> None:
    assert [[*places] for places in batches(counts, 10)] == expected
