"""The golden answers are what transformers decodes from the model in the folder."""

import json
from typing import Any

import pytest

from tests.kit.forks import run_with_sglang

NAMES = [
    "what-is-kvmesh",
    "name",
    "think-unknown",
    "tool-think",
    "tool-parallel",
    "many-languages",
    "completion-kvmesh",
]


DTYPES = ["float32", "bfloat16"]


@pytest.fixture(scope="module")
def decoded() -> dict[str, list[Any]]:
    """By dtype, name, token ids and end of each answer."""
    done = run_with_sglang("-m", "tests.demo_model.decode_golden", ",".join(DTYPES), *NAMES)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_transformers_decodes_the_golden_answers_greedily(
    golden: list[Any], decoded: dict[str, list[Any]], dtype: str
) -> None:
    expected = [
        [entry["name"], entry["token_ids"], entry["finish"]]
        for entry in golden
        if entry["name"] in NAMES
    ]
    assert len(expected) == len(NAMES)
    assert decoded[dtype] == expected
