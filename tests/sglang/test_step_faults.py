"""What raises on account of one request in SGLang's receive loop ends that one; an exception there
would be the end of the engine.
"""

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]


def test_faults_at_each_call_for_one_request(python: Any) -> None:
    done = python(str(Path(__file__).parent / "step_faults.py"))
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout.splitlines()[-1])
    assert results == dict.fromkeys(results)
    assert len(results) == 6
