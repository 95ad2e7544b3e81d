"""The golden answers are what transformers decodes from the model in the folder."""

import json
from typing import Any

import pytest

from tests.demo_vision.golden import golden_entries
from tests.kit.forks import run_with_sglang

DTYPES = ["float32", "bfloat16"]


@pytest.fixture(scope="module")
def decoded() -> dict[str, list[Any]]:
    """By dtype, name, token ids, end and token counts of each answer."""
    done = run_with_sglang("-m", "tests.demo_vision.decode_golden", ",".join(DTYPES))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_transformers_sees_what_the_golden_answers_say(
    decoded: dict[str, list[Any]], dtype: str
) -> None:
    fields = ("name", "token_ids", "finish", "prompt_tokens", "image_tokens")
    assert decoded[dtype] == [[entry[field] for field in fields] for entry in golden_entries()]
