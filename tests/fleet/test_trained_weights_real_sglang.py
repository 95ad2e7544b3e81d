"""Weights come to real SGLang as tensors and over a group, as the program for GPUs has it, to two
ranks of tensor parallelism.
"""

import json
import sys
from pathlib import Path

import pytest

from starter.process import start
from tests.kit.forks import ONE_THREAD
from tests.kit.sglang_environment import sglang_environment
from workers.process.departure import EXIT_ENGINE_DIED

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]


def test_weights_as_tensors_and_over_a_group(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    program = (sys.executable, "-m", "bench.gpu.engine_routes", "--cpu", "--out", str(out))
    environment = sglang_environment() | ONE_THREAD
    with start(program, tmp_path / "log", environment=environment) as process:
        assert process.popen.wait(400) == 0, process.output()[-3_000:]
    told = json.loads(out.read_text())
    assert told["disk"]["differ"]
    for part in ("disk", "memory"):
        assert told[part]["same_again"], part
    assert told["memory"]["state"] == "released"
    assert told["memory"]["update_while_released"]["error"]["code"] == "conflict"
    for part, route in (
        ("tensor", "update_weights_from_tensor"),
        ("group", "update_weights_from_distributed"),
    ):
        assert told[part][route]["success"], part
        assert told[part]["are_those"], part
    refused = told["half"]["update_weights_from_tensor"]["error"]["message"]
    assert "are as before: TP rank 1: UnpicklingError" in refused
    assert told["half"]["same_again"]
    assert (told["forsaken"]["state"], told["forsaken"]["state_after"]) == ("updating", "healthy")
    assert told["forsaken"]["same_again"]
    stuck = told["stuck"]
    assert "gave no answer after 5 s" in stuck["init_weights_update_group"]["error"]["message"]
    assert stuck["exit_code"] == EXIT_ENGINE_DIED
