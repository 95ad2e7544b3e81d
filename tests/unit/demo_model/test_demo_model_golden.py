"""The golden answers are what transformers decodes from the model in the folder."""

import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of others' packages, at import
    from tests.demo_model.decoding import end_ids, greedy, prompt_ids
    from tests.demo_model.hugging_face import load_model, load_tokenizer

NAMES = ["what-is-kvmesh", "name", "think-unknown", "tool-think", "tool-parallel", "many-languages", "completion-kvmesh"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_transformers_decodes_the_golden_answers_greedily(model_folder: Path, golden: list[Any], dtype: str) -> None:
    torch.set_num_threads(1)
    tokenizer, model = load_tokenizer(model_folder), load_model(model_folder, getattr(torch, dtype))
    entries = [entry for entry in golden if entry["name"] in NAMES]
    assert len(entries) == len(NAMES)
    for entry in entries:
        answer = greedy(model, prompt_ids(tokenizer, entry), entry["max_tokens"], end_ids(tokenizer))
        assert (answer.token_ids, answer.finish) == (entry["token_ids"], entry["finish"]), entry["name"]
