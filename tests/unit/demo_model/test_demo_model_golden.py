"""The golden answers are what transformers decodes from the model in the folder."""

import json
import subprocess
import sys
from typing import Any

import pytest

NAMES = [
    "what-is-kvmesh",
    "name",
    "think-unknown",
    "tool-think",
    "tool-parallel",
    "many-languages",
    "completion-kvmesh",
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_transformers_decodes_the_golden_answers_greedily(golden: list[Any], dtype: str) -> None:
    program = [sys.executable, "-m", "tests.demo_model.decode_golden", dtype, *NAMES]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    expected = [
        [entry["name"], entry["token_ids"], entry["finish"]]
        for entry in golden
        if entry["name"] in NAMES
    ]
    assert len(expected) == len(NAMES)
    assert json.loads(done.stdout.splitlines()[-1]) == expected
